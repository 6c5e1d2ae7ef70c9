"""Reads windows in a zone and in a misspelt one where the machine has no data of zones; prints what comes."""

import zoneinfo

from gpu_mesh.inventory.maintenance import MAINTENANCE

zoneinfo.reset_tzpath(to=())
window = {"days": "daily", "from": "03:00", "to": "05:00"}
print(MAINTENANCE.read([{**window, "zone": "Europe/Berlin"}])[0].zone)
try:
    MAINTENANCE.read([{**window, "zone": "Europe/Berlinn"}])
except Exception as error:  # noqa: BLE001 (which one is not the matter here)
    print(error)
