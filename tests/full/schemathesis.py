"""Checks the mock server against Omni's published OpenAPI document (the parts in `omni-openapi-users.json`)
with schemathesis: it generates requests from the document, single ones and sequences in which a request uses the
results of earlier ones, and checks every answer.

The mock server is deliberately stricter than the document and uses more status codes. So these checks are skipped:

- `positive_data_acceptance`: the document allows any text as an email, any field in a body and any number as an index.
  The mock server rejects unknown fields: a request that passes there passes at Omni under every reading.
- `status_code_conformance`: the document does not list every rejection (404, 405, 409, 429) of every path.
"""

import pathlib
import subprocess
import sys

import support

DOCUMENT = pathlib.Path(__file__).with_name("omni-openapi-users.json")
SKIPPED = "positive_data_acceptance,status_code_conformance"


class Schemathesis(support.Case):
    def check(self, sandbox, *arguments):
        # Runs the program, because this file has the name of its package.
        program = pathlib.Path(sys.executable).with_name("schemathesis")
        command = [str(program), "run", str(DOCUMENT), "--url", sandbox.url, "--no-color", "--seed", "1"]
        command += ["--exclude-checks", SKIPPED, "--max-examples", "50"]
        command += ["--header", f"Authorization: Bearer {support.KEY}", *arguments]
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=support.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * support.GENEROUS,
            check=False,
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended.stdout

    def test_answers_match_the_document(self):
        more = ["--role-origins", "document", "--sample-schedules", "5"]
        sandbox = self.sandbox(users=5, per_minute=1_000_000, full_lists=True, more=more)
        said = self.check(sandbox, "--phases", "examples,coverage,fuzzing,stateful")
        self.assertIn("Tested: 19", said)
        # The document has no links between its operations; schemathesis infers them from names.
        self.assertRegex(said, r"API Links: +[1-9]\d* covered")
        # Some requests were executed, not only rejected.
        codes = {request["status"] for request in sandbox.requests()}
        self.assertLessEqual({200, 201, 204, 400, 401, 404}, codes)
        self.assertLess(max(codes), 500)
        print("\n" + said.rstrip().rsplit("\n", 1)[-1])


if __name__ == "__main__":
    support.main()
