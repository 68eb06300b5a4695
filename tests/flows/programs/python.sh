# Python's own tests of json, re, threading and subprocess. They mostly wait, so they run side by side. Some must be
# done within so long, or before somebody wakes: where the machine has no time for them they fail, so each part has
# three tries.
# needs: tests of python3
# exit: 5
python=/usr/bin/python3
part() {
  name=$1; shift
  for try in 1 2 3; do
    $python -m test --junit-xml "$PWD/$name.xml" "$@" >"$name.out" 2>&1 && return || status=$?
    [ "$status" -lt 128 ] || break # a crash is none of these
  done
  cat "$name.out"
}
part json test_json &
part re test_re &
part threading test_threading &
part poll -m ProcessTestCase test_subprocess &
part select -m ProcessTestCaseNoPoll test_subprocess &
part posix -m POSIXProcessTestCase test_subprocess &
part others -i ProcessTestCase -i ProcessTestCaseNoPoll -i POSIXProcessTestCase test_subprocess &
wait
$python - *.xml <<'END'
import sys, xml.etree.ElementTree
for path in sys.argv[1:]:
    cases = xml.etree.ElementTree.parse(path).iter("testcase")
    print(path, *sorted(f"{case.get('name')} {[child.tag for child in case if 'system' not in child.tag]}" for case in cases), sep="\n")
END
echo "Now one that fails."
$python -c 'raise SystemExit(5)'
