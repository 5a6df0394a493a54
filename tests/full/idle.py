"""The resource usage of an idle daemon with 10,000 rows, 10,000 users and polling."""

import os
import pathlib
import time

import support

USERS = 10_000
# Seconds of measurement, and the limits: percent of a core, and MB at the end.
MEASURED = 60.0
CPU = 0.5
RESIDENT = 40.0


def cpu_seconds(pid):
    """The CPU time of a process with its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Fields 14 and 15 of the whole line.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """The resident memory in MB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not tell VmRSS")


class Idle(support.Case):
    def test_an_idle_daemon_uses_little(self):
        sandbox = self.sandbox(users=USERS, per_minute=10_000, full_lists=True)
        address = support.free_address()
        env = support.settings(
            sandbox,
            self.folder,
            serve__listen=address,
            schedule__cron="",
            source__watch="poll",
            omni__requests_per_minute=10_000,
        )
        exported = support.run(["export", "-o", "users.csv", "--force"], self.folder, env)
        self.assertEqual(exported.returncode, 0, exported.stderr)
        arguments = [support.PROGRAM, "run"]
        daemon = self.start(support.Process(arguments, self.folder, env, "the daemon"))

        def sample(name, **labels):
            status, text = support.fetch(f"http://{address}/metrics")
            return support.sample(text, "omni_user_sync_" + name, **labels) if status else 0.0

        converged = {"trigger": "start", "result": "converged"}
        daemon.until("its first run has ended", lambda: sample("runs_total", **converged) == 1)
        self.assertEqual(sample("roster_rows"), USERS)
        self.assertEqual(sample("users"), USERS)
        daemon.until("the watcher has read the roster", lambda: "roster found" in daemon.told())
        requests = len(sandbox.requests())
        before, began = cpu_seconds(daemon.pid), time.monotonic()
        while (took := time.monotonic() - began) < MEASURED:
            time.sleep(MEASURED - took)
        percent = 100 * (cpu_seconds(daemon.pid) - before) / took
        megabytes = resident(daemon.pid)
        print(f"\nidle: {percent:.2f}% of a core over {took:.0f} s, {megabytes:.1f} MB resident")
        self.assertEqual(len(sandbox.requests()), requests, "it was idle")
        self.assertLessEqual(percent, CPU)
        self.assertLessEqual(megabytes, RESIDENT)


if __name__ == "__main__":
    support.main()
