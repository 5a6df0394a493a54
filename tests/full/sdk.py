"""Compares the program with Omni's unmodified Python SDK: the resulting users, and the requests.

`script` does the same as the SDK's example: two requests for each row, here without its wait of two seconds.
Both start from the same organisation.
"""

import contextlib
import csv
import importlib.metadata
import io

from omni_python_sdk import OmniAPI

import support

VERSION = "0.1.11"
HEADER = "op,email,display_name,region,department,cost_center,quota,tier\n"
# The script looks up the user of each row, and writes for each upsert and for each deletion of an existing
# user.
FIRST, SECOND = 80, 70


def script(url, roster):
    """Makes the calls of the original script."""
    api = OmniAPI(api_key=support.KEY, base_url=url)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for row in csv.DictReader(io.StringIO(roster)):
            op, email, name = (row.pop(column) for column in ("op", "email", "display_name"))
            if op == "upsert":
                api.upsert_user(email, name, row)
            elif op == "delete":
                api.delete_user(email)
    return said.getvalue()


def groups_script(url, memberships):
    """Makes the calls of the SDK's script for groups."""
    api = OmniAPI(api_key=support.KEY, base_url=url)
    for row in csv.DictReader(io.StringIO(memberships)):
        user = api.return_user_by_email(row["email"])
        change = {"+": api.add_user_to_group, "-": api.remove_user_from_group}[row["op"]]
        change(row["group_name"], user["id"])


def left_behind(sandbox):
    """The users for comparison, without empty values."""
    users = {}
    for email, user in sandbox.users().items():
        values = user.get(support.ATTRIBUTES, {})
        values = {name: value for name, value in values.items() if value not in (None, "", [])}
        users[email] = (user["displayName"], user["active"], values)
    return users


class Example:
    """20 present users of whom 2 differ, 10 new ones, 10 deletions, in an organisation of 30."""

    def __init__(self):
        self.present = []
        lines = [HEADER]
        for number in range(30):
            email = f"u{number}@example.com"
            values = {"region": ["north"], "department": "Sales", "cost_center": "7"}
            values |= {"quota": ["1", "2.50"], "tier": "gold"}
            self.present.append((email, f"User {number}", values))
            if number == 0:
                line = f'upsert,{email},User {number},"[north,south,east]",Sales,7,"[1,2.50]",gold'
            elif number == 1:
                line = f'upsert,{email},Renamed,[north],,8,"[1,2.50]",gold'
            elif number < 20:
                line = f'upsert,{email},User {number},[north],Sales,7,"[1,2.50]",gold'
            else:
                line = f"delete,{email},,,,,,"
            lines.append(line + "\n")
        for number in range(10):
            line = f"new{number}@example.com,New {number},[west],Support,1{number}.5,[9],silver"
            lines.append(f"upsert,{line}\n")
        self.roster = "".join(lines)


class Sdk(support.Case):
    def world(self, example, **options):
        sandbox = self.sandbox(**options)
        for email, name, values in example.present:
            sandbox.add(email, name, values)
        return sandbox

    def apply(self, sandbox, roster):
        self.write("users.csv", roster)
        env = support.settings(sandbox, self.folder, policy__max_removals="100%")
        ended = support.run(["apply", "--yes"], self.folder, env)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        return ended

    def test_uses_the_published_sdk(self):
        self.assertEqual(importlib.metadata.version("omni_python_sdk"), VERSION)

    def test_same_result_with_fewer_requests(self):
        example = Example()
        # Without its waits the script would exceed any limit; the program respects the default limit.
        theirs = self.world(example, per_minute=10_000)
        ours = self.world(example, full_lists=True)
        self.assertEqual(left_behind(theirs), left_behind(ours))

        said = script(theirs.url, example.roster)
        self.assertEqual(said.count("updated user id"), 20, said)
        self.assertEqual(said.count("Created "), 10, said)
        self.assertEqual(said.count("deleted userid"), 10, said)
        self.apply(ours, example.roster)
        self.assertEqual(left_behind(theirs), left_behind(ours))
        self.assertEqual(len(left_behind(ours)), 30)

        first = len(ours.requests())
        self.assertEqual(len(theirs.requests()), FIRST)
        # Two of them read what the users to be deleted own.
        self.assertLessEqual(first, 27)
        self.assertEqual(len(ours.writes()), 22)

        ours.forget_requests()
        self.apply(ours, example.roster)
        second = len(ours.requests())
        self.assertEqual(ours.writes(), [])
        self.assertLessEqual(second, 3)
        theirs.forget_requests()
        script(theirs.url, example.roster)
        self.assertEqual(len(theirs.requests()), SECOND)
        self.assertEqual(left_behind(theirs), left_behind(ours))
        for sandbox in (theirs, ours):
            self.assertEqual(sandbox.unexpected(), [])
            refused = [one for one in sandbox.requests() if one["status"] >= 400]
            self.assertEqual(refused, [])
        print(f"\nrequests: the script {FIRST}, then {SECOND}; ours {first}, then {second}")

    def test_attributes_without_columns_are_kept(self):
        email = "ann@example.com"
        roster = f"op,email,display_name,region\nupsert,{email},Ann Lee,[south]\n"
        before = {"region": ["north"], "tier": "gold", "cost_center": "7"}
        ends = {}
        for who in ("script", "ours"):
            sandbox = self.sandbox()
            sandbox.add(email, "Ann", before, active=False)
            if who == "script":
                script(sandbox.url, roster)
            else:
                self.apply(sandbox, roster)
            ends[who] = left_behind(sandbox)[email]
        self.assertEqual(ends["script"], ("Ann Lee", True, {"region": ["south"]}))
        self.assertEqual(ends["ours"], ("Ann Lee", False, {**before, "region": ["south"]}))

    def test_same_memberships_with_fewer_requests(self):
        names = ["Sales", "Support", "Finance", "Board"]
        theirs = self.sandbox(users=20, per_minute=10_000)
        ours = self.sandbox(users=20)
        emails = sorted(ours.users())
        for sandbox in (theirs, ours):
            self.assertEqual(sorted(sandbox.users()), emails)
            for name in names:
                sandbox.add_group(name, *emails[:12])
        leave = [f"-,{email},{name}" for name in names for email in emails[:5]]
        join = [f"+,{email},{name}" for name in names for email in emails[12:17]]
        # The script sends a repeated row twice, which the strict server answers with an error that the SDK ignores.
        rows = "\n".join(["op,email,group_name", *leave, *join, join[0]]) + "\n"
        groups_script(theirs.url, rows)

        self.write("users.csv", "email\n" + "".join(f"{email}\n" for email in emails))
        path = self.write("user_groups.csv", rows)
        limits = {"policy__max_leaves": "100%", "policy__max_joins": "100%"}
        env = support.settings(ours, self.folder, source__groups=path, **limits)
        ended = support.run(["apply", "--yes"], self.folder, env)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        for name in names:
            self.assertEqual(ours.members(name), emails[5:17])
            self.assertEqual(theirs.members(name), emails[5:17])
        # A refused request is repeated.
        self.assertGreaterEqual(len(theirs.requests()), 3 * 41)
        # Users, definitions and groups once; one request for each group and direction. The lists lack attributes, so
        # each user who leaves a group is read first, and the user of the key, because admins are protected.
        self.assertLessEqual(len(ours.requests()), 3 + 2 * len(names) + 5 + 1)
        self.assertEqual(theirs.unexpected() + ours.unexpected(), [])

    def test_a_rejection_stops_only_the_script(self):
        example = Example()
        once = {"status": {"code": 500}}
        theirs = self.world(example, per_minute=10_000)
        ours = self.world(example, full_lists=True)
        for sandbox in (theirs, ours):
            sandbox.fault(once, method="GET")
        with self.assertRaises(AttributeError):
            script(theirs.url, example.roster)
        self.assertEqual(theirs.writes(), [])
        self.apply(ours, example.roster)
        self.assertEqual(len(ours.writes()), 22)


if __name__ == "__main__":
    support.main()
