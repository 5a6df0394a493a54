"""Runs every command in the ```sh blocks of the README and the pages in `docs/`, in order, in a copy of the
repository.

- `omni-user-sync` is the release binary, and Omni is the mock server: `https://<org>.omniapp.co` and
  `<key>` are replaced by its address and key, and the default ports by free ones. Cargo uses the build
  folder of CI.
- The README's ```toml block is saved as `config.toml`, with an existing key file and roster. Those of
  other pages are appended to it.
- An exported roster gets one more row, which must be in Omni at the end.
- For a `curl` to the daemon without a running daemon, one is started.
- Programs that run until they are stopped (`run`, `sandbox`, `demo`) must become ready and stop with
  exit code 0: a demo immediately, a daemon at the end of its section (`##`), a sandbox at the end.
- Variables and the working folder are kept between commands, across blocks.
- Blocks that begin with ```sh no-run are not run; only docker, systemctl and sudo may be in them, and what follows
  `init`, which asks on a terminal (`tests/cli/init.rs` answers it).
- Unknown commands, remaining placeholders, and exit codes other than 0 (and 2 for `plan`: there are
  changes) are failures.
"""

import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

import support

NAME = "omni-user-sync"
# In the order of reading. Later pages use the settings and files of earlier ones.
DOCUMENTS = ["README.md", "docs/roster.md", "docs/groups.md", "docs/safety.md", "docs/settings.md"]
DOCUMENTS += ["docs/operation.md", "docs/api.md", "docs/metrics.md", "docs/omni.md", "docs/architecture.md"]
LONG = {"run": "## ", "sandbox": None, "demo": ""}
SHORT = {"apply", "plan", "check", "export", "health", "explain", "history", "approve"}
SHORT |= {"completions", "man", "help", "status", "config", "pause", "resume"}
TOOLS = {"cat", "cd", "chmod", "cp", "curl", "echo", "export", "grep", "head", "kill", "ls"}
TOOLS |= {"base64", "mkdir", "mv", "printf", "rm", "sed", "test", "umask", "unset"}
# CI has run these already, or runs this from them.
BY_CI = {"cargo test", "cargo build --release", "bash .ci/run", "bash .ci/full"}
NEEDS_A_HOST = {"docker", "systemctl", "sudo"}
SECONDS = 600


KINDS = ("sh", "sh no-run", "toml")
EDIT = "zoe@example.com"


@dataclasses.dataclass
class Block:
    line: int
    kind: str
    lines: list

    def commands(self):
        return commands(self.lines, self.line)


def blocks(text, path="README.md"):
    """The headings (as text), ```sh and ```toml blocks of a document, in order."""
    found, block = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"\s*```(.*)", line)
        if block is not None:
            if fence:
                found += [block] if block.kind in KINDS else []
                block = None
            else:
                block.lines.append(line)
        elif fence:
            block = Block(number, fence[1].strip(), [])
            if block.kind not in KINDS and re.match(r"(sh|bash|shell|console)\b", block.kind):
                raise SystemExit(f"{path}:{number}: ```{block.kind}: is it one of {KINDS}?")
        elif line.startswith("## "):
            found.append(line)
    return found


def commands(lines, line):
    """Commands with their line numbers; continued lines and here-documents are joined."""
    found, rest = [], list(enumerate(lines, line + 1))
    while rest:
        number, text = rest.pop(0)
        while text.endswith("\\") and rest:
            text += "\n" + rest.pop(0)[1]
        for end in re.findall(r"<<-?\s*['\"]?(\w+)['\"]?", text):
            while rest:
                _, more = rest.pop(0)
                text += "\n" + more
                if more.strip() == end:
                    break
        if text.strip() and not text.lstrip().startswith("#"):
            found.append((number, text.strip()))
    return found


def programs(command):
    """The words of each program that a command starts, without assignments and redirections."""
    # The text of a here-document is not a command.
    text = command.splitlines()[0] if "<<" in command else command.replace("\\\n", " ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found, words, skip = [], [], False
    for token in lexer:
        if skip:
            skip = False
        elif set(token) <= set(";&|()") and token:
            found.append(words)
            words = []
        elif set(token) <= set("<>&"):
            skip = True
        elif words or not re.match(r"\w+=", token):
            words.append(token)
    found.append(words)
    return [words for words in found if words]


def subcommand(words):
    """The command of omni-user-sync; None for another program, "" if unknown."""
    if words[:2] == ["cargo", "run"] and "--" in words:
        words = [NAME, *words[words.index("--") + 1 :]]
    if words[0] != NAME:
        return None
    if {"--help", "--version"} & set(words):
        return "help"
    known = [word for word in words[1:] if word in SHORT | set(LONG)]
    return known[0] if known else ""


class Reader:
    """A user who types the commands of the documents."""

    def __init__(self, folder, sandbox):
        self.folder, self.sandbox = folder, sandbox
        self.clone = os.path.join(folder, "clone")
        self.state = os.path.join(folder, "variables")
        self.serve, self.mock_server = support.free_address(), support.free_address()
        self.running, self.passed, self.failed = [], 0, 0
        binaries = os.path.join(folder, "bin")
        os.mkdir(binaries)
        os.symlink(support.PROGRAM, os.path.join(binaries, NAME))
        tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=support.ROOT, text=True)
        for name in filter(None, tracked.split("\0")):
            os.makedirs(os.path.dirname(os.path.join(self.clone, name)), exist_ok=True)
            shutil.copy2(support.ROOT / name, os.path.join(self.clone, name))
        pathlib.Path(self.state).write_text(f"cd {shlex.quote(self.clone)}\n")
        self.env = support.environment(
            # So that the settings of the host are not found, but its toolchain is.
            HOME=folder,
            CARGO_HOME=os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo")),
            RUSTUP_HOME=os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup")),
            CARGO_INSTALL_ROOT=os.path.join(folder, "installed"),
            CARGO_TARGET_DIR=str(support.ROOT / "target"),
            OMNI_USER_SYNC__SERVE__LISTEN=self.serve,
            OMNI_USER_SYNC__STATE__DIR=os.path.join(folder, "state"),
            # All commands share one limit, and the test runs them faster than a person.
            OMNI_USER_SYNC__OMNI__REQUESTS_PER_MINUTE="9000",
        )
        installed = os.path.join(folder, "installed/bin")
        self.env["PATH"] = os.pathsep.join([installed, binaries, self.env["PATH"]])

    def typed(self, command):
        """A command with the addresses of the test."""
        manifest = support.ROOT / "Cargo.toml"
        command = re.sub(r"\bcargo run ", f"cargo run --manifest-path {manifest} ", command)
        command = re.sub(r"--path \.(?=\s|$)", f"--path {support.ROOT}", command)
        # It asks first, and there is no terminal.
        command = re.sub(r"check --probe \S+$", r"\g<0> --yes", command)
        command = command.replace("https://<org>.omniapp.co", self.sandbox.url)
        command = command.replace("<key>", support.KEY)
        command = re.sub(r"(127\.0\.0\.1|localhost):8080\b", self.serve, command)
        return re.sub(r"(127\.0\.0\.1|localhost):8787\b", self.mock_server, command)

    def script(self, command):
        """A script that continues with the state of the last command."""
        return f"set -euo pipefail\n. {shlex.quote(self.state)}\n{command}\n"

    def read(self, path, number, command):
        where = f"{path}:{number}: {command.splitlines()[0]}"
        try:
            self.carry_out(self.typed(command))
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self.failed += 1
            print(f"{where} ... FAILED: {error}", flush=True)
        else:
            self.passed += 1
            print(f"{where} ... ok", flush=True)

    def carry_out(self, command):
        if command in BY_CI:
            return
        placeholder = re.search(r"<[a-z][a-z _-]*>", command.splitlines()[0])
        assert not placeholder, f"placeholder {placeholder[0]} is not replaced"
        started = programs(command)
        for words in started:
            is_install = words[:2] == ["cargo", "install"] and "--path" in words
            known = words[0] in TOOLS or subcommand(words) or is_install
            assert known, f"`{' '.join(words)}` is not known to tests/full/readme.py"
        does = [subcommand(words) for words in started]
        is_running = any(one[0] == "run" for one in self.running)
        if started[0][0] == "curl" and self.serve in command and not is_running:
            self.begin("run", f"{NAME} run", [NAME, "run"])
        if set(does) & set(LONG):
            assert len(started) == 1, "a long-running program must be alone on its line"
            self.begin(does[0], command.removesuffix("&"), started[0])
        else:
            self.finish(does, command)

    def finish(self, does, command):
        """Runs a command and keeps its variables and working folder."""
        # The answer to the question that a person is asked.
        command += " --yes" if "apply" in does and "--yes" not in command else ""
        keep = f"{{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > {shlex.quote(self.state)}"
        script = self.script(f"trap {shlex.quote(keep)} EXIT\n{command}")
        ended = subprocess.run(
            ["bash", "-c", script],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        fine = {0, 2} if "plan" in does else {0}
        said = ended.stdout + ended.stderr
        assert ended.returncode in fine, f"exit code {ended.returncode}\n{said}"
        if "export" in does:
            self.edit()

    def edit(self):
        """Edits the roster like a spreadsheet would."""
        path = pathlib.Path(self.clone, "users.csv")
        header, *lines = path.read_text().splitlines()
        cells = {"op": "upsert", "email": EDIT, "display_name": "Zoe"}
        new = ",".join(cells.get(column, "") for column in header.split(","))
        path.write_text("\n".join([header, *lines, new]) + "\n")

    def save_settings(self, path, lines):
        text = self.typed("\n".join(lines))
        if path != "README.md":
            with open(os.path.join(self.clone, "config.toml"), "a", encoding="utf-8") as file:
                file.write(f"\n{text}\n")
            return
        key = os.path.join(self.clone, "key")
        pathlib.Path(key).write_text(support.KEY + "\n")
        os.chmod(key, 0o600)
        text = re.sub(r'^(api_key_file = )".*"', rf'\1"{key}"', text, flags=re.M)
        text = re.sub(r'^(path = )".*"', rf'\1"{self.clone}/users.csv"', text, flags=re.M)
        pathlib.Path(self.clone, "config.toml").write_text(text + "\n")

    def begin(self, does, command, words):
        if does == "sandbox" and "--listen" not in words:
            command += f" --listen {self.mock_server}"
        script = self.script(f"exec env {command}")
        process = support.Process(["bash", "-c", script], self.folder, self.env, command)
        self.running.append((does, process))
        # Cargo may have to build first.
        process.until("it is ready", lambda: self.is_ready(does, process), SECONDS)
        self.end("")

    def is_ready(self, does, process):
        if does == "run":
            return support.fetch(f"http://{self.serve}/readyz")[0] == 200
        said = {"sandbox": "listening on", "demo": "The first run has ended"}
        return said[does] in process.out()

    def end(self, *times):
        """Stops the programs that end at one of these times."""
        due = [one for one in self.running if LONG[one[0]] in times]
        self.running = [one for one in self.running if one not in due]
        for does, process in due:
            try:
                process.signal(signal.SIGINT if does == "demo" else signal.SIGTERM)
                code = process.wait()
                assert code == 0, f"`{process.name}` ended with {code}\n{process.told()}"
            finally:
                process.end()

    def turn_over(self, *times):
        """Handles the end of a section or of the last document."""
        try:
            self.end(*times)
        except AssertionError as error:
            self.failed += 1
            print(f"FAILED: {error}", flush=True)


def read(reader, path):
    """Reads one document."""
    for one in blocks((support.ROOT / path).read_text(), path):
        if isinstance(one, str):
            reader.turn_over("## ")
        elif one.kind == "toml":
            reader.save_settings(path, one.lines)
        elif one.kind == "sh":
            for number, command in one.commands():
                reader.read(path, number, command)
        else:
            asks = False
            for number, command in one.commands():
                started = programs(command)
                asks |= [NAME, "init"] in started
                if not asks and not {words[0] for words in started} <= NEEDS_A_HOST:
                    reader.failed += 1
                    print(f"{path}:{number}: {command} ... FAILED: could be run")
    reader.turn_over("## ")


def main():
    folder = tempfile.mkdtemp(prefix="full-readme-")
    sandbox = support.Sandbox(folder, users=100, per_minute=10_000)
    reader = Reader(folder, sandbox)
    try:
        for path in DOCUMENTS:
            read(reader, path)
        reader.turn_over("## ", None)
        for what, wrong in (
            ("Omni got what no client sends", sandbox.unexpected()),
            ("the edited roster did not reach Omni", EDIT not in sandbox.users()),
        ):
            if wrong:
                reader.failed += 1
                print(f"FAILED: {what}")
    finally:
        for _, process in reader.running:
            process.end()
        sandbox.end()
        shutil.rmtree(folder)
    print(f"{reader.passed} passed, {reader.failed} failed", flush=True)
    sys.exit(0 if reader.passed and not reader.failed else 1)


if __name__ == "__main__":
    main()
