"""The demo: it converges, prints the next steps, applies an edit, and removes its files."""

import os
import re
import signal

import support

EDIT = re.compile(r"^ *edit +(\S+users\.csv)$", re.MULTILINE)
LOOK = re.compile(r"(http://127\.0\.0\.1:\d+)/metrics")
APPLIED = {"outcome": "applied"}


class Demo(support.Case):
    def metric(self, name, **labels):
        status, text = support.fetch(f"{self.address}/metrics")
        return support.sample(text, "omni_user_sync_" + name, **labels) if status == 200 else 0.0

    def begin(self):
        """Starts a demo and waits until it has converged. Returns it with its roster."""
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
        self.address = LOOK.search(demo.out())[1]
        return demo, EDIT.search(demo.out())[1]

    def interrupt(self, demo):
        demo.signal(signal.SIGINT)
        self.assertEqual(demo.wait(), 0, demo.told())
        self.assertEqual(os.listdir(self.folder), [], "its files are removed")

    def test_converges_and_applies_an_edit(self):
        demo, roster = self.begin()
        self.assertTrue(roster.startswith(self.folder), roster)
        with open(roster, encoding="utf-8") as file:
            lines = file.read().splitlines()
        deleted = sum(line.startswith("delete,") for line in lines)
        created = self.metric("changes_total", operation="create", **APPLIED)
        self.assertGreater(created, 0)
        self.assertGreater(self.metric("changes_total", operation="update", **APPLIED), 0)
        self.assertEqual(self.metric("changes_total", operation="delete", **APPLIED), deleted)
        self.assertEqual(self.metric("runs_total", trigger="start", result="converged"), 1)

        columns = lines[0].count(",")
        new = "upsert,zoe@example.com,Zoe" + "," * (columns - 2)
        with open(roster, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, new]) + "\n")
        more = lambda: self.metric("changes_total", operation="create", **APPLIED) == created + 1
        demo.until("the new row is applied", more)
        ended = lambda: self.metric("runs_total", trigger="file", result="converged") == 1
        demo.until("that run has converged", ended)
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
