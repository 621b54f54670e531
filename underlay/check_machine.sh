#!/bin/sh
# Print the Python to build with, or one sentence per missing thing, with the Debian/Ubuntu package
# that brings it, and fail. PYTHON=... chooses another interpreter.
set -u

missing=0
lacks() {
    echo "$1" >&2
    missing=1
}

suits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

python=
if [ -n "${PYTHON:-}" ]; then
    if suits "$PYTHON"; then
        python=$(command -v "$PYTHON")
    else
        lacks "PYTHON=$PYTHON is not a Python from 3.10 to 3.13."
    fi
else
    # Debian's own python3 first: its headers and venv are the ones that apt installs by name.
    for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$candidate" >/dev/null && suits "$candidate"; then
            python=$(command -v "$candidate")
            break
        fi
    done
    [ -n "$python" ] || lacks "Python 3.10 to 3.13 is missing: apt install python3 python3-venv python3-dev"
fi

if [ -n "$python" ]; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        lacks "Python's venv is missing: apt install python3-venv"
    header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
    [ -e "$header" ] || lacks "Python's headers ($header) are missing: apt install python3-dev"
fi
command -v "${CXX:-c++}" >/dev/null || lacks "A C++ compiler is missing: apt install g++"
command -v "${CC:-cc}" >/dev/null || lacks "A C compiler is missing: apt install gcc"
command -v cmake >/dev/null || lacks "CMake is missing: apt install cmake"
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    lacks "The ROS 2 wheels exist for Linux on x86-64 only: install ROS 2 and use colcon, see README.md."
fi

[ "$missing" = 0 ] || exit 1
# The interpreter itself, not a shim or a link to it.
"$python" -c 'import sys; print(sys.executable)'
