"""The deterrent controller: pure state machine and protocol, run by the pin guard and by a Pico."""

VERSION = "0.1.0"
