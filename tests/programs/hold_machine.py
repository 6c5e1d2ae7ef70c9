"""Makes a machine of the host tests, prints the number of its site, and stays until it is killed."""

import signal

import machines

site = machines.Site()
site.open()
site.machine("living")
print(site.number, flush=True)
signal.pause()
