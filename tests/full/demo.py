"""The demo: its first run leaves held changes, an invalid row and a user in quarantine; it prints the next steps, applies
what is approved and an edit, and removes its files."""

import json
import os
import re
import signal
import subprocess
import urllib.request

import support

EDIT = re.compile(r"^ *edit +(\S+users\.csv)$", re.MULTILINE)
PAGE = re.compile(r"^ *page +(http://127\.0\.0\.1:\d+)/$", re.MULTILINE)
TOKEN = re.compile(r"^ *token +([0-9a-f]{32})$", re.MULTILINE)
APPROVE = re.compile(r"^ *approve +(\S+ --config \S+ approve latest)$", re.MULTILINE)
APPLIED = {"outcome": "applied"}


class Demo(support.Case):
    def metric(self, name, **labels):
        status, text = support.fetch(f"{self.address}/metrics")
        return support.sample(text, "omni_user_sync_" + name, **labels) if status == 200 else 0.0

    def begin(self):
        """Starts a demo and waits until its first run has ended. Returns it with its roster."""
        # These must have no effect: the demo must never use a real organisation.
        hostile = {
            "OMNI_BASE_URL": "http://127.0.0.1:9",
            "OMNI_API_KEY": "secret",
            "OMNI_USER_SYNC__POLICY__MODE": "plan",
        }
        env = support.environment(**{**hostile, "TMPDIR": self.folder})
        arguments = [support.PROGRAM, "demo"]
        demo = self.start(support.Process(arguments, self.folder, env, "the demo"))
        demo.until("it prints the roster to edit", lambda: EDIT.search(demo.out()))
        self.address = PAGE.search(demo.out())[1]
        return demo, EDIT.search(demo.out())[1]

    def interrupt(self, demo):
        demo.signal(signal.SIGINT)
        self.assertEqual(demo.wait(), 0, demo.told())
        self.assertEqual(os.listdir(self.folder), [], "its files are removed")

    def state(self):
        """The status as the API has it."""
        return json.loads(support.fetch(f"{self.address}/api/v1/status")[1])

    def asked_by_token(self, token):
        """The status of the answer to a request for a run."""
        address = f"{self.address}/api/v1/reconcile"
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(address, method="POST", headers=headers)
        with urllib.request.urlopen(request, timeout=support.GENEROUS) as answer:
            return answer.status

    def test_shows_what_needs_attention_and_applies_it(self):
        demo, roster = self.begin()
        self.assertTrue(roster.startswith(self.folder), roster)
        with open(roster, encoding="utf-8") as file:
            lines = file.read().splitlines()
        deleted = sum(line.startswith("delete,") for line in lines)
        created = self.metric("changes_total", operation="create", **APPLIED)
        self.assertGreater(created, 0)
        self.assertGreater(self.metric("changes_total", operation="update", **APPLIED), 0)
        self.assertEqual(self.metric("changes_total", operation="delete", **APPLIED), 0)
        self.assertEqual(self.metric("runs_total", trigger="start", result="held"), 1)
        state = self.state()
        rules = {rule["rule"]: rule["count"] for rule in state["held"]["rules"]}
        self.assertEqual(set(rules), {"max_removals", "max_clears"}, rules)
        self.assertEqual(rules["max_removals"], deleted)
        self.assertEqual(state["roster"]["problem_count"], 1, state)
        quarantined = [user["email"] for user in state["quarantined"]["users"]]
        self.assertEqual(len(quarantined), 1, state)
        self.assertIn(quarantined[0], demo.out())
        self.assertIn("rejects each change", state["quarantined"]["users"][0]["reason"])

        self.assertEqual(self.asked_by_token(TOKEN.search(demo.out())[1]), 202)
        command = [*APPROVE.search(demo.out())[1].split(), "--yes"]
        approved = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(approved.returncode, 0, approved.stderr)
        removed = lambda: self.metric("changes_total", operation="delete", **APPLIED) == deleted
        demo.until("what is approved is applied", removed)
        demo.until("nothing is held", lambda: self.state()["held"] is None)

        columns = lines[0].count(",")
        new = "upsert,zoe@example.com,Zoe" + "," * (columns - 2)
        with open(roster, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, new]) + "\n")
        more = lambda: self.metric("changes_total", operation="create", **APPLIED) == created + 1
        demo.until("the new row is applied", more)
        self.interrupt(demo)

    def test_two_demos_do_not_interfere(self):
        (one, _), first = self.begin(), self.address
        two, _ = self.begin()
        self.assertNotEqual(first, self.address)
        two.signal(signal.SIGINT)
        self.assertEqual(two.wait(), 0, two.told())
        self.assertTrue(one.runs())
        self.interrupt(one)


if __name__ == "__main__":
    support.main()
