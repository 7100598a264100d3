#!/usr/bin/python3
"""Counts of a ginkgo JSON report: passed, failed, skipped by the specs themselves (not those that were filtered out)."""
import json
import sys

passed = failed = skipped = 0
for suite in json.load(open(sys.argv[1])):
    for spec in suite["SpecReports"] or []:
        if spec["LeafNodeType"] != "It":
            failed += spec["State"] not in ("passed", "skipped")  # a broken set-up fails everything behind it
            continue
        if spec["State"] == "passed":
            passed += 1
        elif spec["State"] in ("skipped", "pending"):
            message = spec.get("Failure", {}).get("Message", "")
            if message:  # the spec said so itself; a filtered one has no words
                skipped += 1
                print("skipped: " + " ".join(spec["ContainerHierarchyTexts"] + [spec["LeafNodeText"]]) + ": " + message,
                      file=sys.stderr)
        else:
            failed += 1
            print("failed: " + " ".join(spec["ContainerHierarchyTexts"] + [spec["LeafNodeText"]]), file=sys.stderr)
print(passed, failed, skipped)
