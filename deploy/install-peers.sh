#!/bin/sh
# The real peers of the contract tests: from Debian, and a client by npm as its lockfile names it. Installs only what is missing.
set -eu
# an independent client of the uploads, where there is a Node.js; its tests say when there is none
if command -v npm >/dev/null 2>&1 && [ ! -d tests/tus_js/node_modules/tus-js-client ]; then
  (cd tests/tus_js && npm ci --ignore-scripts --no-audit --no-fund --silent)
fi
MISSING=""
for package in postgresql chromium orthanc dcmtk dicom3tools ceph-mon ceph-mgr ceph-osd radosgw \
  fonts-noto-cjk strace; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || MISSING="$MISSING $package"
done
[ -z "$MISSING" ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "teleread: these tests need Debian packages; run as root: apt-get install$MISSING" >&2
  exit 2
fi
echo "installing$MISSING"
apt-get update -q >/dev/null
# a peer is started by the tests on a free port, never as a service of the machine
POLICY=/usr/sbin/policy-rc.d
if [ ! -e "$POLICY" ]; then
  trap 'rm -f "$POLICY"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$POLICY"
  chmod +x "$POLICY"
fi
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $MISSING >/dev/null
