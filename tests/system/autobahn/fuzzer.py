"""Autobahn's fuzzing client, with a fresh URL for every case. Python 2.7, as autobahntestsuite is.

    fuzzer.py --list             prints the ids of all cases as JSON
    fuzzer.py CONTROL SPEC       runs the cases of SPEC; asks CONTROL + case id for the URL of each
"""
import json
import sys
import urllib2

from autobahntestsuite import choosereactor  # first: it installs the reactor
from autobahntestsuite import case, caseset, fuzzing
from twisted.internet import reactor


class FreshUrlClient(fuzzing.FuzzingClientFactory):
    def nextCase(self):
        more = fuzzing.FuzzingClientFactory.nextCase(self)
        try:
            # Nothing is connected between two cases, so that blocking here holds nothing up.
            url = urllib2.urlopen(control + (self.currentCaseId if more else "end"), timeout=90).read()
        except Exception as e:
            print "no URL for the next case:", e
            reactor.callLater(3, reactor.stop)
            return False
        if more:
            self.setSessionParameters(url=url, useragent="AutobahnTestSuite")
        return more


if sys.argv[1] == "--list":
    known = caseset.CaseSet(case.CaseSetname, case.CaseBasename, case.Cases, case.CaseCategories,
                            case.CaseSubCategories)
    print json.dumps([known.caseClasstoId(c) for c in case.Cases])
else:
    control = sys.argv[1]
    with open(sys.argv[2]) as f:
        FreshUrlClient(json.load(f))
    reactor.run()
