# ruff: noqa: UP031, RUF005 -- it must start on an old Python, to say that it is too old
"""Make a virtual environment from hashed locks, with one progress line. Standard library only, any Python 3.6+.

    python3 deploy/install.py ENVIRONMENT LOCK [LOCK ...]

A stamp in the environment remembers what it was made from, so that a second call with the same locks does nothing.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time

LOWEST, TOO_NEW = (3, 11), (3, 14)
FREE_MB = 1500


def main(arguments):
    if len(arguments) < 2:
        return fail("usage: install.py ENVIRONMENT LOCK [LOCK ...]")
    environment, locks = arguments[0], arguments[1:]
    wanted = fingerprint(locks)
    names = "+".join(os.path.splitext(os.path.basename(lock))[0] for lock in locks)
    stamp = os.path.join(environment, names + ".stamp")
    if os.path.exists(stamp) and read(stamp) == wanted:
        return 0
    return check_machine(environment) or make(environment, locks, stamp, wanted)


def check_machine(environment):
    here = sys.version_info[:2]
    if not LOWEST <= here < TOO_NEW:
        return fail(
            "Python %d.%d is not supported; install Python 3.11, 3.12 or 3.13 and run `make PYTHON=python3.11 ...`."
            % here
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return fail("python3-venv is missing; run `apt-get install python3-venv` as root, then this again.")
    free_mb = shutil.disk_usage(os.path.dirname(os.path.abspath(environment))).free >> 20
    if free_mb < FREE_MB:
        return fail(
            "The disk is nearly full: %d MB free, %d MB needed. Free some space, then run this again."
            % (free_mb, FREE_MB)
        )
    return 0


def make(environment, locks, stamp, wanted):
    started = time.time()
    python = os.path.join(environment, "bin", "python")
    if not os.path.exists(python):
        show("%s: new environment" % environment)
        made = subprocess.run(
            [sys.executable, "-m", "venv", environment],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if made.returncode:
            return fail("python3-venv does not work; run `apt-get install python3-venv` as root.\n" + made.stdout)
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        "--progress-bar",
        "off",
    ]
    for lock in locks:
        code = run_pip(pip + ["--require-hashes", "-r", lock], "%s: %s" % (environment, lock), count(lock))
        if code:
            return code
    code = run_pip(pip + ["--no-build-isolation", "-e", "."], "%s: teleread" % environment, 1)
    if code:
        return code
    with open(stamp, "w") as file:
        file.write(wanted)
    show("%s: ready after %d s" % (environment, time.time() - started))
    sys.stdout.write("\n")
    return 0


def run_pip(command, what, total):
    """Run pip and turn its chatter into one line that counts packages."""
    done, tail, step = 0, [], ""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    for line in process.stdout:
        tail = (tail + [line])[-15:]
        if line.startswith(("Collecting", "Requirement already")):
            done, step = min(done + 1, total), "fetching"
        elif line.startswith("Installing collected"):
            step = "unpacking"
        show("%s: %s %d of %d" % (what, step or "starting", done, total))
    if process.wait():
        sys.stdout.write("\n")
        text = "".join(tail)
        if "No space left" in text:
            return fail("The disk is full. Free some space, then run this again.")
        if "HASHES" in text or "hashes" in text:
            return fail(text + "A package does not have the locked hash; nothing of it was installed.")
        return fail(text + "Installation failed (see above). Is the package index reachable? Then run this again.")
    return 0


LAST = [""]


def show(text):
    """One line that is written over on a terminal; elsewhere a line only when its words change."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write("\r\033[K" + text[:width])
    else:
        words = "".join(c for c in text if not c.isdigit())
        if words == LAST[0]:
            return
        LAST[0] = words
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def count(lock):
    return read(lock).count("==")


def fingerprint(locks):
    digest = hashlib.sha256(sys.version.encode())
    for path in list(locks) + ["pyproject.toml"]:
        digest.update(read(path).encode())
    digest.update(os.path.abspath(".").encode())
    return digest.hexdigest()


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def fail(text):
    sys.stderr.write("teleread: %s\n" % text)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
