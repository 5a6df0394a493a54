"""The stand-in against Omni's published OpenAPI document (`omni-openapi-users.json` beside this file, the part that
concerns users), by schemathesis: requests made up from the document, one by one and in sequences in which a later one
asks for what an earlier one made, and every answer held against it.

The stand-in is deliberately stricter than the document, and answers more codes than it names; so these checks are left
out, and everything else is checked:

- `positive_data_acceptance`: the document lets any text be an email, any field stand in a body and any number be an
  index. The stand-in refuses what it does not know: what passes there passes at Omni under every reading.
- `status_code_conformance`: the document does not name each refusal (404, 405, 409, 429) at each path.
"""

import pathlib
import subprocess
import sys

import support

DOCUMENT = pathlib.Path(__file__).with_name("omni-openapi-users.json")
LEFT_OUT = "positive_data_acceptance,status_code_conformance"
# What the stand-in does not have, or answers with nobody.
PATHS = "Groups|model-roles"


class Schemathesis(support.Case):
    def check(self, sandbox, *arguments):
        # By its program: this file has the name of its package.
        program = pathlib.Path(sys.executable).with_name("schemathesis")
        command = [str(program), "run", str(DOCUMENT), "--url", sandbox.url, "--no-color", "--seed", "1"]
        command += ["--exclude-path-regex", PATHS, "--exclude-checks", LEFT_OUT, "--max-examples", "50"]
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

    def test_the_stand_in_answers_as_the_document_says(self):
        sandbox = self.sandbox(users=5, per_minute=1_000_000)
        said = self.check(sandbox, "--phases", "examples,coverage,fuzzing,stateful")
        self.assertIn("Tested: 7", said)
        # The document has no links between its operations; these are inferred from what it calls things.
        self.assertRegex(said, r"API Links: +[1-9]\d* covered")
        # It has been asked for, not only refused.
        codes = {request["status"] for request in sandbox.requests()}
        self.assertLessEqual({200, 201, 204, 400, 401, 404}, codes)
        self.assertLess(max(codes), 500)
        print("\n" + said.rstrip().rsplit("\n", 1)[-1])


if __name__ == "__main__":
    support.main()
