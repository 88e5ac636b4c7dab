"""A whole host of Debian's: its own kernel and systemd, pure cgroup v2, AppArmor in force, on a disk that stays.

`image.py` makes the disk, `machine.py` boots it under QEMU, `guest.py` carries commands out inside, `inside/` holds
the tests that only such a host can show, `suites.txt` says what runs there. From the shell:

    tests/host/run                    everything of suites.txt under QEMU; the result goes to tests/host/result.txt
    tests/host/run --qemu PYTEST…     what is named, there
    tests/host/run --uml PYTEST…      the same in user-mode Linux (tests/uml), in seconds: AppArmor, but no systemd
                                      as pid 1, no nftables, no reboot
    tests/host/run --shell COMMAND    one command, to look around
"""
