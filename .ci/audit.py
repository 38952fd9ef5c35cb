"""Ask whether a version that is installed has a known vulnerability.

    python .ci/audit.py

It fails if one has. Where the advisory service cannot be reached there is no answer, which it says
and does not take for a failure.
"""

import json
import subprocess
import sys

OPTIONS = {
    "--format": "json",
    "--progress-spinner": "off",
    "--timeout": "10",
    "--vulnerability-service": "osv",
}


def main():
    options = [word for option in OPTIONS.items() for word in option]
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", *options]
    run = subprocess.run(command, capture_output=True, text=True)
    if not run.stdout:
        if "ConnectionError" not in run.stderr and "Timeout" not in run.stderr:
            sys.exit(run.stderr)
        print("pip-audit was left out: the advisory service cannot be reached")
        return
    packages = [p for p in json.loads(run.stdout)["dependencies"] if p.get("vulns")]
    for package in packages:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "none yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    sys.exit(bool(packages))


if __name__ == "__main__":
    main()
