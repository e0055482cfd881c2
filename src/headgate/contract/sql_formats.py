"""`logicalTypeOptions.format` of texts, as regular expressions that the whole text must match (RE2)."""

from __future__ import annotations

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_H = "[0-9a-fA-F]{1,4}"
_TAIL = f"(?:{_H}:{_H}|{_IPV4})"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL})*"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"


def _ipv6() -> str:
    """RFC 3986's IPv6address: eight groups, `::` once for any number of zero groups, IPv4 in the last two."""
    forms = [f"(?:{_H}:){{6}}{_TAIL}", f"::(?:{_H}:){{5}}{_TAIL}"]
    forms += [f"(?:(?:{_H}:){{0,{before}}}{_H})?::(?:{_H}:){{{4 - before}}}{_TAIL}" for before in range(5)]
    forms += [f"(?:(?:{_H}:){{0,5}}{_H})?::{_H}", f"(?:(?:{_H}:){{0,6}}{_H})?::"]
    return "|".join(forms)


GRAMMARS = {
    "uuid": "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    # The form that mail servers take: a dot-atom, an at sign, a host name with at least one dot.
    "email": rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+",
    # RFC 3986: a scheme, a colon and only characters that a URI may hold.
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+",
    "ipv4": _IPV4,
    "ipv6": _ipv6(),
    "hostname": _HOSTNAME,
    "byte": r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
}
# Formats of the standard that say how a text is shown or stored, not what it holds.
WITHOUT_GRAMMAR = ("password", "binary")
LONGEST = {"email": 254, "hostname": 253}
