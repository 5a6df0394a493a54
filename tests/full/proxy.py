"""The status page behind nginx, with the configuration in `deploy/README.md` and with the mistakes it warns of."""

import os
import pathlib
import re
import subprocess

import support

README = support.ROOT / "deploy/README.md"
NAME = "sync.example.com"
TOKEN = "a-token-of-more-than-sixteen"


def example():
    (block,) = re.findall(r"^```nginx\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return block


class Proxy(support.Case):
    def setUp(self):
        super().setUp()
        sandbox = self.sandbox(users=3, per_minute=10_000)
        self.write("users.csv", "email,display_name\nann@example.com,Ann\n")
        token = self.write("token", TOKEN + "\n")
        token.chmod(0o600)
        self.address = support.free_address()
        (name,) = re.findall(r'`hosts = \["(.*?)"\]`', README.read_text())
        env = support.settings(
            sandbox, self.folder, serve__listen=self.address, serve__hosts=name, serve__admin_token_file=token
        )
        daemon = self.start(support.Process([support.PROGRAM, "run"], self.folder, env, "the daemon"))
        ready = lambda: support.fetch(f"http://{self.address}/readyz")[0] == 200
        daemon.until("it is ready", ready)
        make = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={NAME} -keyout sync.key -out sync.pem"
        make += f" -addext subjectAltName=DNS:{NAME}"
        subprocess.run(make.split(), cwd=self.folder, capture_output=True, check=True)

    def nginx(self, server):
        """Starts nginx with this server and its files in the folder of the test."""
        self.port = support.free_address().rpartition(":")[2]
        for old, new in (
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("/etc/ssl/private", self.folder),
            ("127.0.0.1:8080", self.address),
        ):
            self.assertIn(old, server)
            server = server.replace(old, new)
        paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{one}_temp_path {self.folder}/{one};\n" for one in paths)
        user = "user root;\n" if os.geteuid() == 0 else ""
        config = f"{user}daemon off; pid {self.folder}/pid; error_log stderr;\nevents {{}}\n"
        config = self.write("nginx.conf", f"{config}http {{ access_log off;\n{paths}{server}}}\n")
        nginx = support.Process(["nginx", "-c", str(config)], self.folder, name="nginx")
        self.start(nginx)
        nginx.until("it listens", lambda: self.ask("/healthz")[0] == 200)

    def ask(self, path, *more):
        """The status and the answer with its headers, as seen by another host."""
        at = f"{NAME}:{self.port}"
        curl = ["curl", "--silent", "--include", "--noproxy", "*", "--cacert", f"{self.folder}/sync.pem"]
        curl += ["--resolve", f"{at}:127.0.0.1", *more, f"https://{at}{path}"]
        told = subprocess.run(curl, capture_output=True, text=True, check=False).stdout
        found = re.match(r"HTTP/\S+ (\d+)", told)
        return int(found[1]) if found else 0, told

    def test_remote_users_log_in_and_act(self):
        self.nginx(example())
        self.assertEqual(self.ask("/")[0], 303, "strangers are sent to the log-in")
        self.assertEqual(self.ask("/api/v1/status")[0], 401)
        origin = ("--header", f"Origin: https://{NAME}:{self.port}")
        status, told = self.ask("/login", *origin, "--data", f"token={TOKEN}")
        self.assertEqual(status, 303, told)
        (cookie,) = re.findall(r"^set-cookie: (\S+=\w+;.*)$", told, re.MULTILINE | re.IGNORECASE)
        self.assertIn("; Secure", cookie)
        session = ("--header", f"Cookie: {cookie.split(';')[0]}")
        status, told = self.ask("/", *session)
        self.assertEqual(status, 200, told)
        self.assertIn("Log out", told)
        self.assertEqual(self.ask("/reconcile", *session, *origin, "--request", "POST")[0], 303)
        draft = self.write("draft.csv", "email,display_name\n" + f"new@example.com,{'x' * 100_000}\n" * 30)
        status, told = self.ask("/preview/file", *session, *origin, "--header", "Expect:", "--form", f"file=@{draft}")
        self.assertEqual(status, 200, told)
        foreign = ("--header", "Origin: https://evil.example")
        self.assertEqual(self.ask("/reconcile", *session, *foreign, "--request", "POST")[0], 403)

    def test_the_warning_in_the_readme_is_true(self):
        lines = example().splitlines(keepends=True)
        self.nginx("".join(line for line in lines if "proxy_set_header" not in line))
        self.assertEqual(self.ask("/")[0], 200, "and the look that it asks for finds it")

    def test_one_of_the_headers_is_enough(self):
        for header in ("Host", "X-Forwarded-For"):
            lines = example().splitlines(keepends=True)
            self.nginx("".join(line for line in lines if f"proxy_set_header {header} " not in line))
            self.assertEqual(self.ask("/")[0], 303, f"without {header}")


if __name__ == "__main__":
    support.main()
