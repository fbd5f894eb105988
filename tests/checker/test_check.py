"""The checker finds what is planted, and nothing where all is well."""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import check

SCRIPT = pathlib.Path(__file__).with_name("check.py")
BUCKET = "P#001700000000000"
ROW = "14#a#brd/203.0.113.7#edge1.{}"


def n(value):
    return {"N": str(value)}


def s(value):
    return {"S": value}


def lease(t, s_, d, st):
    return {"M": {"t": n(t), "s": n(s_), "d": n(d), "k": n(3), "st": s(st)}}


def item(pk, sk, **values):
    return {"pk": s(pk), "sk": s(sk), **values}


def world():
    """A download to its end, an upload to its end, and 30 bytes in doubt after the first life was killed."""
    clients = [
        {"customer": "demo", "tunnel": "t1", "life": "edge1.1", "sent": 0, "received": 1020, "whole": True},
        {"customer": "demo", "tunnel": "t2", "life": "edge1.2", "sent": 500, "received": 0, "whole": True},
    ]
    origin = [{"tunnel": "t1", "sent": 4000, "received": 0}, {"tunnel": "t2", "sent": 0, "received": 500}]
    allow = item(
        "ALLOW#demo",
        BUCKET,
        granted=n(10_000),
        available=n(8_000),
        folded=n(1_530),
        L={"M": {"edge9.1": lease(470, 0, 0, "lost")}},
    )
    grant = item("GRANTS#demo", "GRANT#plan", bucket=s(BUCKET), bytes=n(10_000))
    rows = [
        item("USE#demo#2024-02", ROW.format(1), ingress=n(0), egress=n(1_000)),
        item("USE#demo#2024-02", ROW.format(2), ingress=n(500), egress=n(0)),
    ]
    others = [item("CAP#demo", "CAP", ver=n(1)), item("EDGE#edge1", "EDGE", epoch=n(2))]
    return clients, origin, [allow, grant, *rows, *others]


class Planted(unittest.TestCase):
    def setUp(self):
        self.clients, self.origin, self.items = world()
        self.allow, self.grant, self.first_row, self.second_row = self.items[:4]

    def found(self, most=100):
        return list(check.check(self.clients, self.origin, self.items, most))

    def finds(self, *words, most=100):
        found = self.found(most)
        self.assertTrue(any(all(word in line for word in words) for line in found), found)

    def test_a_sound_world_has_no_difference(self):
        self.assertEqual(self.found(), [])
        self.assertIn("2 tunnels of 1 customers in 2 lives: billed 1500, moved 1520, in doubt 30",
                      check.summary(self.clients, self.origin, self.items))

    def test_nothing_compared_is_no_proof(self):
        self.clients, self.origin = [], []
        self.finds("no client counted anything")

    # === the ends against the rows ===

    def test_a_byte_more_at_the_client_than_was_sent(self):
        self.clients[1]["received"] += 1
        self.finds("t2: the client received 1, the origin sent 0")

    def test_a_byte_more_at_the_client_than_billed_and_in_doubt(self):
        self.clients[0]["received"] = 1_101
        self.finds("demo at edge1.1: clients received 1101, billed 1000 and in doubt 100")

    def test_a_byte_more_at_the_client_than_all_lives_leave_in_doubt(self):
        self.clients[0]["received"] = 1_031
        self.finds("demo: clients received 1031, billed 1000 and in doubt 30")

    def test_a_byte_billed_that_no_client_received(self):
        self.clients[0]["received"] = 999
        self.finds("demo at edge1.1: billed 1000 outward, clients received 999 to the end")

    def test_a_byte_billed_that_a_client_who_broke_off_cannot_disprove(self):
        self.clients[0].update(received=999, whole=False)
        self.assertEqual(self.found(), [])

    def test_a_byte_billed_that_the_origin_never_sent(self):
        self.clients[0].update(received=900, whole=False)
        self.origin[0]["sent"] = 999
        self.finds("demo at edge1.1: billed 1000 outward, the origin sent 999")

    def test_a_byte_billed_that_no_client_sent(self):
        self.clients[1]["sent"] = 499
        self.finds("demo at edge1.2: billed 500 inward, clients sent 499")
        self.finds("t2: the origin received 500, the client sent 499")

    def test_a_byte_lost_of_an_upload_that_ended_whole(self):
        self.origin[1]["received"] = 499
        self.finds("t2: ended whole, sent 500, of which the origin received 499")

    def test_a_byte_forwarded_that_was_not_billed(self):
        self.clients[1]["sent"] = self.origin[1]["received"] = 531
        self.finds("demo: the origin received 531, billed 500 and in doubt 30")

    def test_doubt_is_not_spent_in_both_directions(self):
        self.clients[1]["sent"] = self.origin[1]["received"] = 511
        self.finds("demo: 1531 moved, billed 1500 and in doubt 30")

    # === the rows against the buckets ===

    def test_a_missing_row(self):
        self.items.remove(self.second_row)
        self.finds("demo at edge1.2: the origin received 500, billed 0")
        self.finds("settled 1530, daily rows 1000: 530 in doubt over 2 lives")

    def test_a_row_of_a_life_that_no_client_saw(self):
        self.items.append(item("USE#demo#2024-02", ROW.format(7), ingress=n(0), egress=n(1)))
        self.finds("demo at edge1.7: billed 1 outward, the origin sent 0")

    def test_a_row_of_another_line_counts_too(self):
        self.items.append(item("USE#demo#2024-02", "14#b#brd/203.0.113.7#edge1.1", ingress=n(0), egress=n(25)))
        self.finds("demo at edge1.1: billed 1025 outward, clients received 1020")

    def test_more_billed_than_settled(self):
        self.allow["folded"], self.allow["available"] = n(1_499), n(8_031)
        self.finds("settled 1499, daily rows 1500: -1 in doubt")

    def test_doubt_after_a_clean_end(self):
        self.finds("settled 1530, daily rows 1500: 30 in doubt over 2 lives", most=0)

    def test_more_doubt_than_the_lives_may_leave(self):
        self.finds("30 in doubt over 2 lives", most=14)

    # === inside a bucket ===

    def test_an_s_above_its_t(self):
        self.allow["L"]["M"]["edge9.1"] = lease(470, 471, 0, "lost")
        self.finds("edge9.1 settled 471 and doubts 0 of 470 taken")

    def test_s_and_d_together_above_t(self):
        self.allow["L"]["M"]["edge9.1"] = lease(470, 400, 71, "lost")
        self.finds("edge9.1 settled 400 and doubts 71 of 470 taken")

    def test_a_sum_that_is_not_what_was_granted(self):
        self.allow["available"] = n(8_001)
        self.finds(f"demo {BUCKET}: granted 10000, but available + folded + taken is 10001")

    def test_a_bucket_whose_grant_is_not_on_file(self):
        self.items.remove(self.grant)
        self.finds("granted 10000, but its grants are 0")

    def test_a_lease_that_was_left_open(self):
        self.allow["L"]["M"]["edge9.1"] = lease(470, 0, 0, "open")
        self.finds("edge9.1 left a lease open")

    def test_more_moved_than_was_granted(self):
        for name in ("granted", "available", "folded"):
            self.allow[name] = n({"granted": 1_519, "available": 0, "folded": 1_049}[name])
        self.grant["bytes"] = n(1_519)
        self.finds("demo: 1520 moved of 1519 granted")

    # === pairs ===

    def test_a_tunnel_that_only_one_end_knows_of(self):
        self.origin.append({"tunnel": "t3", "sent": 0, "received": 0})
        self.clients.append({**self.clients[0], "tunnel": "t4", "received": 0})
        self.finds("t3: only the origin knows of it")
        self.finds("t4: only the client knows of it")

    def test_a_tunnel_told_of_twice(self):
        self.clients.append(copy.deepcopy(self.clients[1]))
        self.finds("a tunnel is told of twice")

    def test_a_customer_without_a_bucket(self):
        self.clients[0]["customer"] = "other"
        self.finds("other: clients received 1020, billed 0 and in doubt 0")


class Program(unittest.TestCase):
    def run_on(self, clients, origin, items, *more):
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            for name, records in (("clients", clients), ("origin", origin)):
                at.joinpath(name).write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
            at.joinpath("store").write_text(json.dumps(items), encoding="utf-8")
            files = [f"--{name}={at / name}" for name in ("clients", "origin", "store")]
            return subprocess.run([sys.executable, "-I", "-B", SCRIPT, *files, *more], capture_output=True, text=True)

    def test_exits_0_with_a_summary_or_1_with_what_differs(self):
        clients, origin, items = world()
        ran = self.run_on(clients, origin, items, "--doubt=100")
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertIn("billed 1500, moved 1520, in doubt 30", ran.stdout)
        ran = self.run_on(clients, origin, items)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("30 in doubt over 2 lives", ran.stdout)

    def test_a_record_that_cannot_be_read_is_no_success(self):
        clients, origin, items = world()
        del clients[0]["whole"]
        self.assertNotEqual(self.run_on(clients, origin, items, "--doubt=100").returncode, 0)

    def test_a_table_is_scanned_to_its_last_page(self):
        asked = []

        def call(endpoint, operation, request):
            asked.append((endpoint, operation, dict(request)))
            first = "ExclusiveStartKey" not in request
            return {"Items": [1], "LastEvaluatedKey": {"pk": s("x")}} if first else {"Items": [2]}

        self.assertEqual(list(check.scan("http://at", "t-usage", call)), [1, 2])
        self.assertEqual(asked[1][2]["ExclusiveStartKey"], {"pk": s("x")})


if __name__ == "__main__":
    unittest.main()
