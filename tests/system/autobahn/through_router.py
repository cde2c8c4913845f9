"""Runs Autobahn's fuzzing client through the router.

A lobby is registered for each case, an echo peer joins it, and the fuzzer joins the same lobby as the second member:
what it sends goes fuzzer, router, echo peer, router, fuzzer. Control frames, framing errors, UTF-8 errors and close
handshakes are the router's own to answer. Every case has a lobby of its own, so that a late echo of one case can't
arrive in the next.

Prints a line per group, every failed case, and every case that disturbed its echo peer. Exit status: 0 when all cases
ran, none FAILED and no echo peer was disturbed; else 1.
"""
import argparse
import asyncio
import collections
import json
import os
import sys
import tempfile
import time

from lobby import Lobby, Router

HERE = os.path.dirname(os.path.abspath(__file__))
TITLES = {"1": "framing", "2": "pings and pongs", "3": "reserved bits", "4": "opcodes", "5": "fragmentation",
          "6": "UTF-8", "7": "close handshake", "9": "limits and performance", "10": "auto-fragmentation"}


class Fuzzer:
    """One fuzzing client with its share of the cases."""

    def __init__(self, router, python, cases, folder):
        self.router, self.python, self.cases, self.folder = router, python, cases, folder
        self.lobby, self.current, self.disturbed, self.trouble = None, None, {}, None
        self.moved = time.monotonic()

    async def run(self, patience):
        os.makedirs(self.folder)
        control = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        spec = os.path.join(self.folder, "spec.json")
        with open(spec, "w") as f:
            json.dump({"outdir": self.folder, "cases": self.cases, "exclude-cases": [], "exclude-agent-cases": {},
                       "servers": [{"agent": "router", "url": self.router.ws_base + "/", "options": {"version": 18}}],
                       "options": {"failByDrop": False}}, f)
        with open(os.path.join(self.folder, "fuzzer.log"), "wb") as log:
            address = "http://127.0.0.1:%d/" % control.sockets[0].getsockname()[1]
            process = await asyncio.create_subprocess_exec(
                self.python, os.path.join(HERE, "fuzzer.py"), address, spec, stdout=log, stderr=log, cwd=self.folder,
                env=dict(os.environ, no_proxy="127.0.0.1"))
            try:
                while process.returncode is None:
                    try:
                        await asyncio.wait_for(process.wait(), 2)
                    except asyncio.TimeoutError:
                        if time.monotonic() - self.moved > patience:
                            self.trouble = "case %s took more than %d s" % (self.current, patience)
                            process.kill()
            finally:
                if process.returncode is None:
                    process.kill()
                await self.leave()
                control.close()

    async def answer(self, reader, writer):
        """Opens a lobby for the case that the fuzzer names, and answers with the URL to join it by."""
        try:
            case = (await reader.readline()).decode().split()[1].strip("/")
            while (await reader.readline()).strip():
                pass
            try:
                status, body = "200 OK", await self.next_case(case)
            except Exception as e:
                self.trouble = "before case %s: %r" % (case, e)
                status, body = "500 Failed", self.trouble
            writer.write(("HTTP/1.0 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)).encode())
            await writer.drain()
        finally:
            writer.close()

    async def next_case(self, case):
        await self.leave()
        self.moved = time.monotonic()
        if case == "end":
            return "-"
        self.current, lobby = case, Lobby(self.router)
        await lobby.open()
        self.lobby = lobby
        return lobby.url()

    async def leave(self):
        if self.lobby:
            lobby, self.lobby = self.lobby, None
            await lobby.close()
            if lobby.disturbances:
                self.disturbed[self.current] = "; ".join(lobby.disturbances)

    def results(self):
        try:
            with open(os.path.join(self.folder, "index.json")) as f:
                return next(iter(json.load(f).values()), {})
        except (OSError, ValueError):
            return {}

    def explain(self, result):
        try:
            with open(os.path.join(self.folder, result["reportfile"])) as f:
                report = json.load(f)
        except (OSError, ValueError):
            return ""
        received = json.dumps(report.get("received"))
        return "%s; %s; close code %s; received %s" % (report.get("result"), report.get("resultClose"),
                                                        result["remoteCloseCode"], received[:200])


def order(case):
    return [int(part) for part in case.split(".")]


async def known_cases(python):
    process = await asyncio.create_subprocess_exec(python, os.path.join(HERE, "fuzzer.py"), "--list",
                                                   stdout=asyncio.subprocess.PIPE)
    listing, _ = await process.communicate()
    if process.returncode:
        sys.exit("%s can't import autobahntestsuite" % python)
    return json.loads(listing)


def report(fuzzers, cases, seconds):
    results, groups, bad = {}, collections.OrderedDict(), []
    for fuzzer in fuzzers:
        for case, result in fuzzer.results().items():
            results[case] = (fuzzer, result)
    for case in cases:
        row = groups.setdefault(case.split(".")[0], collections.Counter())
        row["cases"] += 1
        if case not in results:
            bad.append("%s did not run" % case)
            continue
        fuzzer, result = results[case]
        row["ms"] += max(0, min(result["duration"], 10**7))
        if "FAILED" in (result["behavior"], result["behaviorClose"]):
            bad.append("%s FAILED: %s" % (case, fuzzer.explain(result)))
        else:
            row[result["behavior"]] += 1
    for fuzzer in fuzzers:
        bad += ["%s disturbed the echo peer: %s" % item for item in sorted(fuzzer.disturbed.items())]
        if fuzzer.trouble:
            bad.append(fuzzer.trouble)
    for group, row in groups.items():
        print("  %2s %-24s %3d cases, %3d OK, %2d non-strict, %2d informational, %6.1f s" % (
            group, TITLES.get(group, ""), row["cases"], row["OK"], row["NON-STRICT"], row["INFORMATIONAL"],
            row["ms"] / 1000))
    took = sorted(((result["duration"], case) for case, (_, result) in results.items()), reverse=True)
    print("  slowest: " + ", ".join("%s %.1f s" % (case, ms / 1000) for ms, case in took[:6]))
    for line in bad:
        print("  " + line)
    print("  %d cases in %.0f s, %d remarks" % (len(cases), seconds, len(bad)))
    return 1 if bad else 0


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="such as http://127.0.0.1:8741")
    parser.add_argument("groups", nargs="*", help="groups, parts or cases: 9, 9.3, 7.1.5 (default: 1-7, 9, 10)")
    parser.add_argument("--python27", required=True, help="a Python 2.7 with autobahntestsuite")
    parser.add_argument("--jobs", type=int, default=2, help="fuzzers at once")
    parser.add_argument("--patience", type=float, default=120, help="seconds that one case may take")
    options = parser.parse_args()
    wanted = options.groups or sorted(TITLES, key=int)
    cases = sorted((case for case in await known_cases(options.python27)
                    if any(case == one or case.startswith(one + ".") for one in wanted)), key=order)
    router, started = Router(options.base), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="autobahn-") as folder:
        # Dealt out like cards, so that each has its share of the groups that take long.
        shares = [share for share in (cases[n::options.jobs] for n in range(options.jobs)) if share]
        fuzzers = [Fuzzer(router, options.python27, share, os.path.join(folder, str(n)))
                   for n, share in enumerate(shares)]
        await asyncio.gather(*(fuzzer.run(options.patience) for fuzzer in fuzzers))
        return report(fuzzers, cases, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
