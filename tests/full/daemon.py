"""The release binary as a daemon: triggers, HTTP server and shutdown."""

import os
import pathlib
import pty
import signal
import socket
import threading
import time

import support

ROSTER = "op,email,display_name,region\n"
PREFIX = "omni_user_sync_"
# The value of shutdown.grace, and the additional time that the process may need.
GRACE = 20.0
# The watchdog timeout in seconds.
WATCHDOG = 6.0


def rows(*emails, region="north"):
    lines = (f"upsert,{email},{email[0].upper()},[{region}]\n" for email in emails)
    return ROSTER + "".join(lines)


class Manager:
    """The service manager's side of the notify protocol: a datagram socket."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.1)
        self.told = []
        self.closing = False
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self):
        while not self.closing:
            try:
                datagram = self.socket.recv(65536).decode()
            except TimeoutError:
                continue
            self.told += [(time.monotonic(), line) for line in datagram.splitlines()]

    def lines(self, prefix=""):
        return [line for _, line in list(self.told) if line.startswith(prefix)]

    def times(self, wanted):
        return [at for at, line in list(self.told) if line == wanted]

    def close(self):
        self.closing = True
        self.thread.join()
        self.socket.close()


class Daemon(support.Case):
    def daemon(self, sandbox, variables=None, **more):
        self.address = support.free_address()
        chosen = {
            "serve__listen": self.address,
            "schedule__cron": "",
            "shutdown__grace": f"{GRACE:.0f}s",
            "policy__max_removals": "100%",
        }
        self.env = support.settings(sandbox, self.folder, **{**chosen, **more})
        self.env |= variables or {}
        arguments = [support.PROGRAM, "run"]
        return self.start(support.Process(arguments, self.folder, self.env, "the daemon"))

    def metric(self, name, **labels):
        status, text = support.fetch(f"http://{self.address}/metrics")
        return support.sample(text, PREFIX + name, **labels) if status == 200 else 0.0

    def health(self, *arguments):
        return support.run(["health", *arguments], self.folder, self.env).returncode

    def until_ready(self, daemon):
        daemon.until("it is ready", lambda: self.health() == 0)

    def until_converged(self, daemon, **labels):
        """Waits for more than readiness, which is true after the first read of roster and Omni."""
        self.until_ready(daemon)
        runs = lambda: self.metric("runs_total", result="converged", **labels)
        daemon.until("a run has converged", lambda: runs() == 1)

    def terminate(self, daemon):
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0, daemon.told())
        self.assertLess(time.monotonic() - began, GRACE, daemon.told())

    def read(self, path):
        """The text of a file; empty if its thread has ended meanwhile."""
        try:
            return path.read_text()
        except OSError:
            return ""

    def region(self, sandbox, email):
        user = sandbox.users().get(email, {})
        return user.get(support.ATTRIBUTES, {}).get("region")

    def test_converges_at_start_after_changes_and_signals(self):
        sandbox = self.sandbox(per_minute=10_000)
        sandbox.add("gone@example.com", "Gone")
        sandbox.add("other@example.com", "Other", {"region": ["east"], "tier": "gold"})
        self.write("users.csv", rows("ann@example.com") + "delete,gone@example.com,,\n")
        daemon = self.daemon(sandbox)
        self.until_converged(daemon, trigger="start")
        self.assertEqual(set(sandbox.users()), {"ann@example.com", "other@example.com"})
        self.assertEqual(self.region(sandbox, "ann@example.com"), ["north"])
        self.assertEqual(self.health(f"http://{self.address}"), 0)

        self.write("users.csv", rows("ann@example.com", "bob@example.com"))
        daemon.until("the new row is applied", lambda: "bob@example.com" in sandbox.users())
        with open(os.path.join(self.folder, "users.csv"), "a", encoding="utf-8") as roster:
            roster.write("upsert,cid@example.com,Cid,\n")
        daemon.until("the added row is applied", lambda: "cid@example.com" in sandbox.users())
        converged = {"result": "converged"}
        by_file = {"trigger": "file", **converged}
        daemon.until("both are counted", lambda: self.metric("runs_total", **by_file) == 2)

        sandbox.edit("ann@example.com", {"region": ["south"]})
        daemon.signal(signal.SIGHUP)
        restored = lambda: self.region(sandbox, "ann@example.com") == ["north"]
        daemon.until("the value is restored", restored)
        by_signal = {"trigger": "signal", **converged}
        daemon.until("it is counted", lambda: self.metric("runs_total", **by_signal) == 1)

        applied = {"outcome": "applied"}
        changes = {
            operation: self.metric("changes_total", operation=operation, **applied)
            for operation in ("create", "update", "delete")
        }
        self.assertEqual(changes, {"create": 3, "update": 1, "delete": 1})
        self.assertEqual(self.metric("users"), 4)
        self.assertEqual(self.metric("roster_rows"), 3)
        self.assertEqual(self.metric("requests_total", method="POST", status="201"), 3)
        alive, _ = support.fetch(f"http://{self.address}/healthz")
        self.assertEqual(alive, 200)
        tasks = pathlib.Path(f"/proc/{daemon.process.pid}/task").glob("*/stat")
        threads = "".join(self.read(task) for task in tasks)
        # Limited by the maximum if the tests themselves run with a nice value.
        expected = min(os.nice(0) + support.SERVER_NICE, 19)
        self.assertEqual(support.nice(threads, "server"), [expected])
        self.terminate(daemon)
        self.assertEqual(self.health(), 1)
        untouched = sandbox.users()["other@example.com"][support.ATTRIBUTES]
        self.assertEqual(untouched, {"region": ["east"], "tier": "gold"})
        self.assertEqual(sandbox.unexpected(), [])
        self.assertNotIn(support.KEY, daemon.told())

    def test_waits_for_roster_and_omni(self):
        sandbox = self.sandbox(per_minute=10_000)
        daemon = self.daemon(sandbox)
        url = f"http://{self.address}/readyz"
        says = lambda: support.fetch(url)
        daemon.until("it reports what is missing", lambda: "can't be read" in says()[1])
        self.assertEqual(says()[0], 503)
        self.assertEqual(self.health(), 1)
        self.write("users.csv", rows("ann@example.com"))
        self.until_ready(daemon)
        daemon.until("the row is applied", lambda: "ann@example.com" in sandbox.users())
        self.terminate(daemon)

    def hang(self, **more):
        """Starts a daemon whose first write gets no answer."""
        sandbox = self.sandbox(per_minute=10_000)
        sandbox.fault({"hang": 300_000}, method="POST")
        self.write("users.csv", rows("ann@example.com", "bob@example.com"))
        daemon = self.daemon(sandbox, omni__timeout="300s", omni__max_in_flight=1, **more)
        daemon.until("a write is in progress", sandbox.writes)
        return sandbox, daemon

    def stopping(self):
        """Starts a daemon that is stopping and waits for a write."""
        _, daemon = self.hang(shutdown__grace="300s")
        daemon.signal(signal.SIGTERM)
        daemon.until("it is stopping", lambda: "stopping" in daemon.told())
        self.assertTrue(daemon.runs(), "it waits for the write in progress")
        return daemon

    def test_a_closed_terminal_ends_it_in_order(self):
        sandbox = self.sandbox(per_minute=10_000)
        self.write("users.csv", rows("ann@example.com"))
        master, slave = pty.openpty()
        terminal = os.ttyname(slave)
        os.close(slave)

        def take_terminal():
            # The first terminal that a session leader opens becomes its controlling terminal.
            os.close(os.open(terminal, os.O_RDWR))

        more = {"start_new_session": True, "preexec_fn": take_terminal}
        env = support.settings(sandbox, self.folder, serve__listen="")
        command = [support.PROGRAM, "run"]
        daemon = self.start(support.Process(command, self.folder, env, "the daemon", **more))
        daemon.until("the row is applied", lambda: "ann@example.com" in sandbox.users())
        os.close(master)
        self.assertEqual(daemon.wait(), 0, daemon.told())
        self.assertIn("daemon stopped", daemon.told())

    def test_a_second_signal_ends_it_immediately(self):
        daemon = self.stopping()
        daemon.signal(signal.SIGINT)
        self.assertEqual(daemon.wait(10.0), 1, daemon.told())

    def test_a_repeated_signal_ends_it(self):
        daemon = self.stopping()

        def ended():
            # An immediate repeat is ignored as the same signal.
            daemon.signal(signal.SIGTERM)
            return not daemon.runs()

        support.eventually("it ends", ended, 10.0)
        self.assertEqual(daemon.wait(), 1, daemon.told())

    def test_a_hung_write_delays_shutdown_by_the_grace(self):
        sandbox, daemon = self.hang(shutdown__grace="2s")
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0, daemon.told())
        took = time.monotonic() - began
        self.assertGreater(took, 1.5, daemon.told())
        self.assertLess(took, 15.0, daemon.told())
        self.assertEqual(len(sandbox.writes()), 1, "no write starts after the signal")

    def test_notifies_systemd(self):
        manager = Manager(self.folder)
        self.addCleanup(manager.close)
        sandbox = self.sandbox(per_minute=10_000)
        self.write("users.csv", rows("ann@example.com"))
        variables = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": f"{WATCHDOG:.0f}000000"}
        daemon = self.daemon(sandbox, variables)
        daemon.until("READY=1", lambda: "READY=1" in manager.lines())
        alive = lambda: manager.times("WATCHDOG=1")
        daemon.until("four WATCHDOG=1", lambda: len(alive()) >= 4)
        self.until_ready(daemon)
        statuses = manager.lines("STATUS=")
        self.assertTrue(statuses and all(len(line) > len("STATUS=") for line in statuses))
        beats = alive()
        gaps = [after - before for before, after in zip(beats, beats[1:])]
        self.assertLess(max(gaps), WATCHDOG, "systemd would have killed it")
        self.assertNotIn("STOPPING=1", manager.lines())
        self.terminate(daemon)
        support.eventually("STOPPING=1", lambda: "STOPPING=1" in manager.lines())
        self.assertEqual(manager.lines("READY=1"), ["READY=1"])
        known = ("READY=1", "STATUS=", "WATCHDOG=1", "STOPPING=1")
        strange = [line for line in manager.lines() if not line.startswith(known)]
        self.assertEqual(strange, [])
        self.assertNotIn("ann@example.com", "".join(manager.lines()))


if __name__ == "__main__":
    support.main()
