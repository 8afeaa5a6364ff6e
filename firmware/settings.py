"""What hangs on this Pico. Yours to edit; then `deploy/flash.sh`, which checks it and carries it over."""

CHANNELS = {
    # The channel's number, as in gander.toml; what it is; its GPIO; in ms: its longest pulse, how long it may be on in
    # any hour, how long it rests after a pulse and after a start. A relay board that is on when its pin is low:
    # "active_high": False, and an external pull-up.
    0: {"kind": "relay", "pin": 2, "max_on_ms": 5000, "hour_ms": 60000, "rest_ms": 1000},  # a lamp
    # "low_hz", "high_hz", "sweep_ms": from which tone to which and back, and how long that takes.
    1: {"kind": "siren", "pin": 3, "max_on_ms": 3000, "hour_ms": 30000, "rest_ms": 5000},
    2: {"kind": "relay", "pin": 4, "max_on_ms": 5000, "hour_ms": 60000, "rest_ms": 5000},  # a water valve
    # "safe_us", "acting_us": width of the servo's pulse while off (from the first moment), and while on.
    3: {"kind": "servo", "pin": 5, "max_on_ms": 5000, "hour_ms": 60000, "rest_ms": 1000},
    # "hz": flashes in a second while it is on. More than 3 can bring on fits in people and animals.
    4: {"kind": "strobe", "pin": 6, "max_on_ms": 5000, "hour_ms": 60000, "rest_ms": 1000},
}

ARM_SWITCH = 22
"""GPIO of the arm switch to ground: closed allows, open forbids, as does a broken wire. None: there is no switch."""
LED = "LED"
"""The status LED: the Pico's own, or a GPIO."""
LINK = "usb"
"""How the host is connected: "usb", or "uart" on GP0 (out) and GP1 (in)."""
BAUD = 115200
"""Of the UART; gander.toml's controller.baud."""
