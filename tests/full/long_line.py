"""A line of one gigabyte is rejected with its position, with little memory and time."""

import os
import re
import subprocess
import time

import support

# Below source.max_bytes, so that the length of the record is the problem.
SIZE = 1_000_000_000
MAX_KIB = 100_000
MAX_SECONDS = 30.0

STARTS = {
    "a cell": (b"op,email,display_name\nupsert,ann@example.com,", 2),
    "a cell in quotes": (b'op,email,display_name\nupsert,ann@example.com,"', 2),
    "a row after good ones": (b"email,display_name\n" + b"a@example.com,A\n" * 9, 11),
    "the header": (b"", 1),
}


class LongLine(support.Case):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.folder, "users.csv")
        block = b"x" * 1_000_000
        with open(self.path, "wb") as file:
            for _ in range(SIZE // len(block)):
                file.write(block)

    def measure(self, arguments, env):
        """Exit code, standard error, seconds and peak memory in KiB. The memory is at least that of this
        process, because the kernel starts counting before the program is loaded."""
        err_path = os.path.join(self.folder, "err")
        began = time.monotonic()
        with open(err_path, "wb") as err:
            process = subprocess.Popen(
                [support.PROGRAM, *arguments],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
            )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        with open(err_path, encoding="utf-8") as err:
            # The message must be short too.
            said = err.read(100_000)
        return process.returncode, said, seconds, usage.ru_maxrss

    def test_is_rejected_with_little_memory(self):
        sandbox = self.sandbox()
        sandbox.add("ann@example.com", "Ann")
        env = support.settings(sandbox, self.folder)
        for what, (start, line) in STARTS.items():
            with open(self.path, "r+b") as file:
                file.write(start)
            for arguments in (["check", "--offline"], ["apply", "--yes"], ["plan"]):
                with self.subTest(what, command=arguments[0]):
                    code, said, seconds, kib = self.measure(arguments, env)
                    measured = f"{seconds:.1f} s, {kib / 1000:.0f} MB"
                    print(f"\n{what}, {arguments[0]}: {measured}", end=" ")
                    self.assertEqual(code, 1, said)
                    self.assertRegex(said, re.compile(rf"users\.csv:{line}\b"))
                    self.assertLess(len(said), 2_000)
                    self.assertLess(kib, MAX_KIB, measured)
                    self.assertLess(seconds, MAX_SECONDS, measured)
            # The next start overwrites this one.
            with open(self.path, "r+b") as file:
                file.write(b"x" * len(start))
        self.assertEqual(sandbox.writes(), [])


if __name__ == "__main__":
    support.main()
