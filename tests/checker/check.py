#!/usr/bin/env python3
"""Compares three records of the same bytes: what clients counted, what the origin counted, and what the store holds.

It shares no code with the product: it reads DynamoDB's own JSON and spells its keys itself.

    check.py --clients clients.jsonl --origin origin.jsonl --store http://127.0.0.1:8000 --prefix t- --doubt 524288

A line of `clients`: {"customer", "tunnel", "life", "sent", "received", "whole"}. `life` is the edge and its epoch
(`edge1.3`); `whole` says that the client saw the end of the other side, so that its count is all there was.
A line of `origin`: {"tunnel", "sent", "received"}. `store` is an endpoint, which is scanned, or a file that holds a
list of items. `doubt` is the most that one life of an edge may leave in doubt; 0, the default, if all ended cleanly.

Exits with 0 and a summary, or with 1 and what differs.
"""

import argparse
import collections
import json
import sys
import urllib.request

# The engine asks for these and verifies none of them.
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20240101/us-east-1/dynamodb/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=none",
    "X-Amz-Date": "20240101T000000Z",
    "Content-Type": "application/x-amz-json-1.0",
}
TABLES = ["usage", "billing"]


def plain(value):
    """A value of DynamoDB's JSON as one of Python's."""
    ((kind, inner),) = value.items()
    if kind == "N":
        return int(inner)
    if kind == "M":
        return {name: plain(v) for name, v in inner.items()}
    if kind == "L":
        return [plain(v) for v in inner]
    return inner


def post(endpoint, operation, request):
    """One call of the endpoint. No proxy of the environment stands in between."""
    headers = {**SIGNED, "X-Amz-Target": f"DynamoDB_20120810.{operation}"}
    call = urllib.request.Request(endpoint, json.dumps(request).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(call, timeout=60) as answer:
        return json.load(answer)


def scan(endpoint, table, call=post):
    """All items of a table, page by page."""
    request = {"TableName": table, "ConsistentRead": True}
    while True:
        page = call(endpoint, "Scan", request)
        yield from page["Items"]
        if not page.get("LastEvaluatedKey"):
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


class Account:
    """What the store holds of one customer."""

    def __init__(self):
        self.buckets = {}
        self.grants = collections.Counter()
        # By life: bytes from and to the customer.
        self.rows = collections.defaultdict(lambda: [0, 0])

    def granted(self):
        return sum(b["granted"] for b in self.buckets.values())

    def charged(self):
        """Bytes that are gone from the buckets: known to have moved, or in doubt."""
        leases = [lease for b in self.buckets.values() for lease in b["L"].values()]
        return sum(b["folded"] for b in self.buckets.values()) + sum(lease["s"] + lease["d"] for lease in leases)

    def billed(self):
        return sum(inward + outward for inward, outward in self.rows.values())


def accounts(items):
    """Items by the customer whose they are."""
    found = collections.defaultdict(Account)
    for raw in items:
        family, _, rest = plain(raw["pk"]).partition("#")
        if family not in ("ALLOW", "GRANTS", "USE"):
            continue
        item = {name: plain(value) for name, value in raw.items()}
        if family == "ALLOW":
            found[rest].buckets[item["sk"]] = item
        elif family == "GRANTS":
            found[rest].grants[item["bucket"]] += item["bytes"]
        else:
            # The row's key ends with the life that wrote it.
            row = found[rest.rpartition("#")[0]].rows[item["sk"].rpartition("#")[2]]
            row[0] += item["ingress"]
            row[1] += item["egress"]
    return found


def buckets(name, account):
    """What does not add up inside a customer's buckets."""
    for key, bucket in account.buckets.items():
        at, leases = f"{name} {key}", bucket["L"]
        held = bucket["available"] + bucket["folded"] + sum(lease["t"] for lease in leases.values())
        if held != bucket["granted"]:
            yield f"{at}: granted {bucket['granted']}, but available + folded + taken is {held}"
        if account.grants[key] != bucket["granted"]:
            yield f"{at}: granted {bucket['granted']}, but its grants are {account.grants[key]}"
        for life, lease in leases.items():
            if lease["s"] + lease["d"] > lease["t"]:
                yield f"{at}: {life} settled {lease['s']} and doubts {lease['d']} of {lease['t']} taken"
            if lease["st"] == "open":
                yield f"{at}: {life} left a lease open"


def pairs(clients, origin):
    """What a client and the origin say differently of one tunnel."""
    names, others = {c["tunnel"] for c in clients}, {o["tunnel"] for o in origin}
    for tunnel in sorted(names ^ others):
        yield f"{tunnel}: only the {'client' if tunnel in names else 'origin'} knows of it"
    if len(names) < len(clients) or len(others) < len(origin):
        yield "a tunnel is told of twice"
    at_origin = {o["tunnel"]: o for o in origin}
    for c in (c for c in clients if c["tunnel"] in at_origin):
        o = at_origin[c["tunnel"]]
        if c["received"] > o["sent"]:
            yield f"{c['tunnel']}: the client received {c['received']}, the origin sent {o['sent']}"
        if o["received"] > c["sent"]:
            yield f"{c['tunnel']}: the origin received {o['received']}, the client sent {c['sent']}"
        if c["whole"] and o["received"] != c["sent"]:
            yield f"{c['tunnel']}: ended whole, sent {c['sent']}, of which the origin received {o['received']}"


class Moved:
    """What clients and the origin counted, added up."""

    def __init__(self, clients, origin):
        ours = {c["tunnel"] for c in clients}
        self.sent = sum(c["sent"] for c in clients)
        self.received = sum(c["received"] for c in clients)
        self.whole = all(c["whole"] for c in clients)
        self.origin_sent = sum(o["sent"] for o in origin if o["tunnel"] in ours)
        self.origin_received = sum(o["received"] for o in origin if o["tunnel"] in ours)

    def bytes(self):
        """What surely passed the edge, both ways."""
        return self.received + self.origin_received


def sandwich(at, moved, billed, doubt):
    """`billed <= moved <= billed + doubt`, as far as the two ends can tell. `billed` is inward, outward."""
    inward, outward = billed
    if inward > moved.sent:
        yield f"{at}: billed {inward} inward, clients sent {moved.sent}"
    if outward > moved.origin_sent:
        yield f"{at}: billed {outward} outward, the origin sent {moved.origin_sent}"
    if moved.whole and outward > moved.received:
        yield f"{at}: billed {outward} outward, clients received {moved.received} to the end"
    if moved.origin_received > inward + doubt:
        yield f"{at}: the origin received {moved.origin_received}, billed {inward} and in doubt {doubt}"
    if moved.received > outward + doubt:
        yield f"{at}: clients received {moved.received}, billed {outward} and in doubt {doubt}"
    if moved.bytes() > inward + outward + doubt:
        yield f"{at}: {moved.bytes()} moved, billed {inward + outward} and in doubt {doubt}"


def customer(name, account, clients, origin, most):
    """What the ends and the store say differently of one customer."""
    yield from buckets(name, account)
    lives = {c["life"] for c in clients} | set(account.rows)
    for life in sorted(lives):
        moved = Moved([c for c in clients if c["life"] == life], origin)
        yield from sandwich(f"{name} at {life}", moved, account.rows.get(life, [0, 0]), most)
    doubt = account.charged() - account.billed()
    if not 0 <= doubt <= most * len(lives):
        yield f"{name}: settled {account.charged()}, daily rows {account.billed()}: {doubt} in doubt over {len(lives)} lives"
    moved = Moved(clients, origin)
    billed = [sum(row[n] for row in account.rows.values()) for n in (0, 1)]
    yield from sandwich(name, moved, billed, doubt)
    if moved.bytes() > account.granted():
        yield f"{name}: {moved.bytes()} moved of {account.granted()} granted"


def check(clients, origin, items, most=0):
    """All that differs, in words."""
    if not clients:
        yield "no client counted anything"
    yield from pairs(clients, origin)
    found = accounts(items)
    for name in sorted(set(found) | {c["customer"] for c in clients}):
        yield from customer(name, found[name], [c for c in clients if c["customer"] == name], origin, most)


def summary(clients, origin, items):
    found, lives = accounts(items), {c["life"] for c in clients}
    billed, charged = (sum(f(a) for a in found.values()) for f in (Account.billed, Account.charged))
    moved = Moved(clients, origin).bytes()
    told = f"{len(clients)} tunnels of {len(found)} customers in {len(lives)} lives"
    return f"{told}: billed {billed}, moved {moved}, in doubt {charged - billed}"


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def main():
    parser = argparse.ArgumentParser(description="Compares what clients, the origin and the store say of the same bytes.")
    parser.add_argument("--clients", required=True, help="what clients counted, a tunnel a line")
    parser.add_argument("--origin", required=True, help="what the origin counted, a tunnel a line")
    parser.add_argument("--store", required=True, help="an endpoint to scan, or a file with a list of items")
    parser.add_argument("--prefix", default="", help="start of the tables' names")
    parser.add_argument("--doubt", type=int, default=0, help="most bytes that one life may leave in doubt")
    args = parser.parse_args()
    clients, origin = lines(args.clients), lines(args.origin)
    if args.store.startswith("http://"):
        items = [item for table in TABLES for item in scan(args.store, args.prefix + table)]
    else:
        with open(args.store, encoding="utf-8") as file:
            items = json.load(file)
    differences = list(check(clients, origin, items, args.doubt))
    print("\n".join(differences) or summary(clients, origin, items))
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
