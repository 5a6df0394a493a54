"""Runs the program against an independent SCIM server: `scim2-server` (RFC 7643 and 7644), with Omni's extension
as a schema. `scim2-client` reads the results.

The server is unmodified. A shim adds Omni's paths and the attribute definitions, which are not part of SCIM, and
counts requests. Differences from Omni or from the mock server:

- users are listed in the order of their ids, not of their creation;
- the answer to a `PATCH` is 204, or 200 if the client requests attributes;
- values have the types of the schema: strings are strings here too;
- extension attributes without a value are missing, and so is an empty extension.
"""

import collections
import json
import threading
import urllib.parse
import wsgiref.simple_server
from socketserver import ThreadingMixIn

from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_models import ResourceType, Schema, ScimProvider
from scim2_server.memory import InMemoryStorage
from scim2_server.testserver.application import BearerTokenApplication
from scim2_server.utils import (
    load_default_resource_types,
    load_default_schemas,
    load_default_service_provider_config,
)

import support

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
DEFINITIONS = {"department": False, "tier": False, "region": True}


def extension():
    """Omni's extension, as a schema."""
    attributes = [
        {
            "name": name,
            "type": "string",
            "multiValued": multiple,
            "description": name,
            "required": False,
            "caseExact": True,
            "mutability": "readWrite",
            "returned": "default",
            "uniqueness": "none",
        }
        for name, multiple in DEFINITIONS.items()
    ]
    return Schema.model_validate(
        {"id": support.ATTRIBUTES, "name": "UserAttribute", "description": "Omni's", "attributes": attributes}
    )


def provider():
    """A service whose users have the extension."""
    schemas = {**load_default_schemas(), support.ATTRIBUTES: extension()}
    types = load_default_resource_types()
    user = types["User"].model_dump()
    user["schemaExtensions"].append({"schema": support.ATTRIBUTES, "required": False})
    types = {**types, "User": ResourceType.model_validate(user)}
    config = load_default_service_provider_config()
    return ScimProvider.from_discovery(schemas.values(), types.values(), config=config)


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


class Threading(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Server:
    """The server with Omni's paths. It counts HTTP requests."""

    def __init__(self):
        self.provider = provider()
        self.storage = InMemoryStorage()
        tokens = [support.KEY]
        self.application = BearerTokenApplication(self.storage, self.provider, bearer_tokens=tokens)
        self.requests, self.queries, self.answers = [], [], collections.Counter()
        self.http = wsgiref.simple_server.make_server(
            "127.0.0.1", 0, self.shim, server_class=Threading, handler_class=Quiet
        )
        self.url = "http://127.0.0.1:%d" % self.http.server_port
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def shim(self, environ, start):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        self.requests.append(f"{method} {path}")
        self.queries += [query] if (query := environ["QUERY_STRING"]) else []

        def counted(status, headers, *more):
            self.answers[f"{method} {status[:3]}"] += 1
            return start(status, headers, *more)

        if path == "/api/v1/user-attributes":
            counted("200 OK", [("Content-Type", "application/json")])
            records = [
                {"name": name, "label": name, "type": "String", "multiple_values": multiple, "system": False}
                for name, multiple in DEFINITIONS.items()
            ]
            return [json.dumps({"records": records}).encode()]
        if path.startswith("/api/scim/v2/"):
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/api/scim", path.removeprefix("/api/scim")
        return self.application(environ, counted)

    def client(self):
        headers = {"Authorization": f"Bearer {support.KEY}"}
        client = WSGISCIMClient(self.application, base_url="http://localhost/v2", headers=headers)
        client.discover()
        return client

    def writes(self):
        return [one for one in self.requests if not one.startswith("GET ")]

    def end(self):
        self.http.shutdown()
        self.http.server_close()


class Scim2(support.Case):
    def setUp(self):
        super().setUp()
        self.server = self.start(Server())
        self.client = self.server.client()
        self.user = self.client.get_resource_model("User")
        for number in range(3):
            self.add(f"old{number}@example.com", f"Old {number}", {"department": "Sales", "tier": "gold"})
        self.add("list@example.com", "List", {"region": ["north", "south"], "tier": "gold"})

    def add(self, email, name, attributes):
        body = {"schemas": [USER, support.ATTRIBUTES], "userName": email, "displayName": name}
        body |= {"active": True, support.ATTRIBUTES: attributes}
        self.client.create(self.user.model_validate(body))

    def users(self):
        """Name, active flag and attributes by email, read by the server's own client."""
        found = self.client.query(self.user)
        users = {}
        for user in found.resources:
            user = user.model_dump()
            values = {name: value for name, value in (user.get(support.ATTRIBUTES) or {}).items() if value}
            users[user["userName"]] = (user.get("displayName"), user.get("active"), values)
        return users

    def run_program(self, *arguments, code=0, **more):
        more = {"policy__max_removals": "100%", **more}
        env = support.settings(self.server, self.folder, **more)
        ended = support.run(list(arguments), self.folder, env)
        self.assertEqual(ended.returncode, code, ended.stdout + ended.stderr)
        return ended

    def test_patch_changes_nothing_else(self):
        self.applied("patch")

    def test_put_changes_nothing_else(self):
        self.applied("put")

    def applied(self, method):
        self.write(
            "users.csv",
            "op,email,display_name,department,region\n"
            "upsert,old0@example.com,Old 0,Sales,\n"
            "upsert,OLD1@example.com,Renamed,,\n"
            'upsert,list@example.com,,,"[east,north]"\n'
            "delete,old2@example.com,,,\n"
            'upsert,new@example.com,"Nëw ""User""",Support,[west]\n',
        )
        before = self.users()
        self.run_program("check")
        self.run_program("plan", code=2)
        self.assertEqual((self.users(), self.server.writes()), (before, []))

        self.run_program("apply", "--yes", omni__update_method=method)
        gold = {"tier": "gold"}
        after = self.users()
        regions = after["list@example.com"][2].pop("region")
        self.assertEqual(sorted(regions), ["east", "north"])
        self.assertEqual(
            after,
            {
                "old0@example.com": ("Old 0", True, {"department": "Sales", **gold}),
                "old1@example.com": ("Renamed", True, gold),
                "list@example.com": ("List", True, gold),
                "new@example.com": ('Nëw "User"', after["new@example.com"][1], {"department": "Support", "region": ["west"]}),
            },
        )
        self.assertEqual(len(self.server.writes()), 4, self.server.writes())
        refused = {answer: count for answer, count in self.server.answers.items() if answer[-3] in "45"}
        # `check` asks who the key is, and so do `plan` and `apply` before a removal; this server, like an older Omni, does
        # not know. Nor does it have schedules and personal tokens, which are read before removals.
        self.assertEqual(refused, {"GET 404": 8})
        changed = {"patch": "PATCH 204", "put": "PUT 200"}[method]
        self.assertEqual(self.server.answers[changed], 2, self.server.answers)
        print(f"\n{method}: {dict(self.server.answers)}")

        self.server.requests.clear()
        self.run_program("plan", code=0)
        self.run_program("apply", "--yes", omni__update_method=method)
        self.assertEqual(self.server.writes(), [])

    def test_inactive_users_and_deactivation(self):
        self.write("users.csv", "op,email\ndeactivate,old0@example.com\n")
        self.run_program("apply", "--yes")
        self.assertEqual(self.users()["old0@example.com"], ("Old 0", False, {"department": "Sales", "tier": "gold"}))
        self.write("users.csv", "op,email\nupsert,old0@example.com\n")
        self.run_program("apply", "--yes")
        self.assertIs(self.users()["old0@example.com"][1], True)

    def add_many(self, count):
        for number in range(count):
            self.add(f"more{number}@example.com", f"More {number}", {"region": [f"r{number}", "all"]})

    def test_looks_up_few_of_many_users(self):
        # Seven pages of 100: four lookups, including one for the case of emails, are fewer than the six remaining pages.
        self.add_many(630)
        before = self.users()
        self.write(
            "users.csv",
            "op,email,display_name,department\n"
            "upsert,MORE7@example.com,Renamed,Support\n"
            "delete,more229@example.com,,\n"
            "upsert,new@example.com,New,Sales\n",
        )
        self.run_program("apply", "--yes", omni__page_size=100)
        queries = [urllib.parse.parse_qs(query) for query in self.server.queries]
        filters = {query["filter"][0].lower() for query in queries if "filter" in query}
        emails = ("more7@example.com", "more229@example.com", "new@example.com")
        self.assertLessEqual({f'username eq "{email}"' for email in emails}, filters)
        starts = {query["startIndex"][0] for query in queries if "startIndex" in query}
        self.assertLessEqual(starts, {"1"})

        after = self.users()
        made = after.pop("new@example.com")
        self.assertEqual((made[0], made[2]), ("New", {"department": "Sales"}))
        del before["more229@example.com"]
        values = before["more7@example.com"][2]
        before["more7@example.com"] = ("Renamed", True, {**values, "department": "Support"})
        self.assertEqual(after, before)
        self.server.requests.clear()
        self.run_program("plan", code=0)

    def test_an_export_plans_nothing(self):
        self.add_many(230)
        self.run_program("export", "-o", "users.csv", "--force")
        self.run_program("plan", code=0)
        self.assertEqual(self.server.writes(), [])

    def test_a_wrong_key_is_reported(self):
        env = support.settings(self.server, self.folder)
        self.write("users.csv", "email\nold0@example.com\n")
        ended = support.run(["plan"], self.folder, {**env, "OMNI_API_KEY": "wrong-key"})
        # The definitions come from the shim, which checks no key.
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertIn("401", ended.stderr)
        self.assertNotIn("wrong-key", ended.stderr)


if __name__ == "__main__":
    support.main()
