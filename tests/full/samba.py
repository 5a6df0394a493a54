"""A roster on a network share: Samba on loopback, mounted with FUSE, written on the server."""

import os
import pathlib
import signal
import socket
import subprocess
import time

import support

PREFIX = "omni_user_sync_"
# An upper bound for a shutdown without waiting.
GRACE = 60.0
HEADER = "op,email,display_name\n"
SHARE = """\
[global]
    server role = standalone server
    interfaces = lo
    bind interfaces only = yes
    smb ports = {port}
    disable netbios = yes
    server min protocol = SMB2
    map to guest = Bad User
    guest account = {user}
    load printers = no
    printcap name = /dev/null
    disable spoolss = yes
    lock directory = {home}/lock
    state directory = {home}/state
    cache directory = {home}/cache
    pid directory = {home}/pid
    private dir = {home}/private
    ncalrpc dir = {home}/ncalrpc
    log file = {home}/log
[roster]
    path = {share}
    read only = no
    guest ok = yes
"""


def rows(*emails, name="N"):
    return HEADER + "".join(f"upsert,{email},{name}\n" for email in emails)


def is_mounted(path):
    mounts = pathlib.Path("/proc/self/mounts").read_text()
    return any(line.split(" ")[1] == str(path) for line in mounts.splitlines())


class Group(support.Process):
    """A process whose children are killed with it."""

    def __init__(self, arguments, folder, env, name):
        super().__init__(arguments, folder, env, name, start_new_session=True)

    def all(self, number):
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def end(self):
        self.all(signal.SIGKILL)
        super().end()


class Samba(support.Case):
    def setUp(self):
        super().setUp()
        home = pathlib.Path(self.folder)
        self.share, self.mount = home / "share", home / "mount"
        self.samba = home / "samba"
        for folder in (self.share, self.mount, home / "rclone", self.samba):
            folder.mkdir()
        for folder in ("lock", "state", "cache", "pid", "private", "ncalrpc"):
            (self.samba / folder).mkdir()
        self.port = int(support.free_address().rpartition(":")[2])
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True)
        text = SHARE.format(
            home=self.samba, share=self.share, port=self.port, user=user.stdout.strip()
        )
        (self.samba / "smb.conf").write_text(text)
        self.serve()
        self.connect()

    def serve(self):
        arguments = ["smbd", "--foreground", "--no-process-group"]
        arguments.append(f"--configfile={self.samba}/smb.conf")
        env = support.environment(PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
        self.server = self.start(Group(arguments, self.folder, env, "smbd"))

        def answers():
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return True
            except OSError:
                return False

        self.server.until("it answers", answers)

    def connect(self):
        """Mounts the share. FUSE caches nothing for more than 100 ms, and soon reports an unavailable server."""
        remote = f":smb,host=127.0.0.1,port={self.port},user=nobody:roster"
        arguments = ["rclone", "mount", remote, str(self.mount)]
        arguments += ["--config", os.path.join(self.folder, "rclone", "none.conf")]
        arguments += ["--dir-cache-time", "100ms", "--attr-timeout", "100ms"]
        arguments += ["--low-level-retries", "1"]
        env = support.environment(XDG_CACHE_HOME=os.path.join(self.folder, "rclone"))
        self.client = self.start(Group(arguments, self.folder, env, "rclone"))
        # Before the process is killed: the kernel removes the mount even if it hangs.
        self.addCleanup(self.unmount)
        self.client.until("the share is mounted", lambda: is_mounted(self.mount))

    def unmount(self):
        self.client.all(signal.SIGCONT)
        for command in (["fusermount3", "-u", "-z"], ["umount", "-l"]):
            if is_mounted(self.mount):
                subprocess.run([*command, self.mount], check=False)

    def put(self, text):
        """Replaces the roster on the server, by a temporary file and a rename."""
        aside = self.share / "users.csv.tmp"
        aside.write_text(text)
        aside.rename(self.share / "users.csv")

    def daemon(self, sandbox, **more):
        self.address = support.free_address()
        chosen = {
            "serve__listen": self.address,
            "schedule__cron": "",
            "shutdown__grace": f"{GRACE:.0f}s",
            "source__path": self.mount / "users.csv",
            "source__reports": "",
            "policy__prune": "managed",
            "policy__max_removals": "100%",
        }
        env = support.settings(sandbox, self.folder, **{**chosen, **more})
        daemon = support.Process([support.PROGRAM, "run"], self.folder, env, "the daemon")
        self.start(daemon)
        return daemon

    def up(self):
        status, text = support.fetch(f"http://{self.address}/metrics")
        return support.sample(text, PREFIX + "source_up") if status == 200 else None

    def until_users(self, daemon, sandbox, *emails):
        daemon.until(f"there are {emails}", lambda: set(sandbox.users()) == set(emails))

    def converged(self, text, *emails):
        """Starts a daemon and waits until its first run has converged."""
        sandbox = self.sandbox(per_minute=10_000)
        self.put(text)
        daemon = self.daemon(sandbox)
        self.until_users(daemon, sandbox, *emails)
        daemon.until("the roster is reported available", lambda: self.up() == 1)
        return sandbox, daemon

    def terminate(self, daemon):
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0, daemon.told())
        return time.monotonic() - began

    def test_detects_writes_on_the_server(self):
        sandbox, daemon = self.converged(rows("a@x.co"), "a@x.co")
        said = daemon.out() + daemon.err()
        self.assertIn('file_system="FUSE"', said)
        self.put(rows("a@x.co", "b@x.co"))
        self.until_users(daemon, sandbox, "a@x.co", "b@x.co")
        # In place, in two parts, with a pause shorter than `settle`.
        with open(self.share / "users.csv", "w", encoding="utf-8") as roster:
            roster.write(rows("a@x.co", "b@x.co"))
            roster.flush()
            roster.write("upsert,c@x.co,C\n")
        self.until_users(daemon, sandbox, "a@x.co", "b@x.co", "c@x.co")
        # The same size.
        self.put(rows("a@x.co", "b@x.co") + "upsert,d@x.co,D\n")
        self.until_users(daemon, sandbox, "a@x.co", "b@x.co", "d@x.co")
        methods = [request["method"] for request in sandbox.writes()]
        self.assertEqual(sorted(methods), ["DELETE"] + ["POST"] * 4)
        self.assertLess(self.terminate(daemon), GRACE / 2)
        self.assertEqual(sandbox.unexpected(), [])

    def test_a_folder_on_the_share(self):
        sandbox = self.sandbox(per_minute=10_000)
        (self.share / "a.csv").write_text(rows("a@x.co"))
        (self.share / "B.CSV").write_text("email;display_name\nb@x.co;B\n")
        (self.share / "~$a.csv").write_text(rows("no@x.co"))
        daemon = self.daemon(sandbox, source__path=self.mount)
        self.until_users(daemon, sandbox, "a@x.co", "b@x.co")
        (self.share / "c.csv").write_text(rows("c@x.co"))
        self.until_users(daemon, sandbox, "a@x.co", "b@x.co", "c@x.co")
        self.terminate(daemon)

    def test_an_unavailable_server_removes_no_users(self):
        sandbox, daemon = self.converged(rows("a@x.co", "b@x.co"), "a@x.co", "b@x.co")
        self.server.all(signal.SIGKILL)
        self.server.wait()
        daemon.until("the roster is reported unavailable", lambda: self.up() == 0)
        self.assertEqual(set(sandbox.users()), {"a@x.co", "b@x.co"})
        alive, _ = support.fetch(f"http://{self.address}/healthz")
        self.assertEqual(alive, 200)
        self.put(rows("b@x.co", "c@x.co"))
        self.serve()
        self.until_users(daemon, sandbox, "b@x.co", "c@x.co")
        daemon.until("the roster is reported available", lambda: self.up() == 1)
        # A run may have read it before the watcher reports it.
        back = "roster available again"
        daemon.until("its return is logged", lambda: back in daemon.out() + daemon.err())
        self.terminate(daemon)

    def test_an_unmounted_share_removes_no_users(self):
        sandbox = self.sandbox(per_minute=10_000)
        self.put(rows("a@x.co"))
        daemon = self.daemon(sandbox, source__path=self.mount)
        self.until_users(daemon, sandbox, "a@x.co")
        self.unmount()
        daemon.until("the roster is reported unavailable", lambda: self.up() == 0)
        self.assertEqual(set(sandbox.users()), {"a@x.co"})
        self.put(rows("a@x.co", "b@x.co"))
        self.client.end()
        self.connect()
        self.until_users(daemon, sandbox, "a@x.co", "b@x.co")
        self.terminate(daemon)

    def test_a_hung_mount_blocks_nothing(self):
        sandbox, daemon = self.converged(rows("a@x.co"), "a@x.co")
        # From now on the mount does not answer.
        self.client.all(signal.SIGSTOP)
        before = len(sandbox.requests())
        daemon.signal(signal.SIGHUP)
        for path in ("healthz", "readyz", "metrics") * 10:
            status, _ = support.fetch(f"http://{self.address}/{path}")
            self.assertEqual(status, 200)
        # At most the definitions are requested, which happens first if the system has cached the file's metadata.
        self.assertLessEqual(len(sandbox.requests()), before + 1, "a run waits for the roster")
        self.assertLess(self.terminate(daemon), GRACE / 2, daemon.told())

    def test_a_daemon_survives_a_hung_mount(self):
        sandbox = self.sandbox(per_minute=10_000)
        self.put(rows("a@x.co"))
        self.client.all(signal.SIGSTOP)
        daemon = self.daemon(sandbox)
        healthy = lambda: support.fetch(f"http://{self.address}/healthz")[0] == 200
        daemon.until("it is alive", healthy)
        # At the start the daemon asks whose key it has.
        paths = {request["path"] for request in sandbox.requests()}
        self.assertEqual(paths - {"/api/v1/whoami"}, set())
        self.client.all(signal.SIGCONT)
        self.until_users(daemon, sandbox, "a@x.co")
        self.terminate(daemon)


if __name__ == "__main__":
    support.main()
