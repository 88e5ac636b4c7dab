"""The tests of `inside/` are for the test host, as `tests/host/run` says; anywhere else they are not collected."""

import os

collect_ignore = [] if os.environ.get("ATOLL_TEST_HOST") else ["inside"]
