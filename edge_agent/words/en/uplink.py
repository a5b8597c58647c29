"""What keeps the agent from its broker, and what to do about it."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    # the way to the broker
    "uplink.no_such_host": (
        "The name {host} cannot be resolved ({detail}). Check mqtt.host in the site file and the gateway's DNS."
    ),
    "uplink.nobody_listens": (
        "{host} answers, and nothing listens on port {port}. Check that the broker runs, and mqtt.port in the "
        "site file."
    ),
    "uplink.no_answer": (
        "{host} port {port} does not answer as an MQTT broker does. Check that this is the broker's port "
        "(1883 plain, 8883 TLS) and that no firewall is in between; a broker that knows no MQTT 5 may fall silent "
        'too, then set mqtt.version = "3.1.1".'
    ),
    "uplink.unreachable": (
        "{host} port {port} cannot be reached: {detail}. Check the gateway's network, and mqtt.host in the site file."
    ),
    "uplink.web_server": (
        "On {host} port {port} a web server answers, not an MQTT broker: the page of a captive portal, or the "
        "wrong port. Log the gateway in at the portal, or correct mqtt.port in the site file."
    ),
    "uplink.not_mqtt": (
        "What answers on {host} port {port} does not speak MQTT. Correct mqtt.host or mqtt.port in the site "
        "file; a port that wants TLS needs the table [mqtt.tls]."
    ),
    "uplink.closed_early": (
        "{host} port {port} hung up before it accepted the gateway. If the port wants TLS, the site file needs "
        'the table [mqtt.tls]; if the broker knows no MQTT 5, mqtt.version is "3.1.1"; else the broker\'s log '
        "says why."
    ),
    "uplink.broken": "The connection to {host} port {port} broke in an unexpected way: {detail}.",
    # a connection that ended
    "uplink.lost": "The connection to {host} port {port} was lost ({detail}). The agent connects again by itself.",
    "uplink.closed": "The connection to {host} port {port} was closed by the agent.",
    "uplink.half_open": (
        "{host} port {port} went silent, though the connection looked open. The agent connects again by itself; "
        "if it happens often, set mqtt.keepalive_s below the time after which the network forgets idle "
        "connections."
    ),
    "uplink.no_puback": (
        "{host} port {port} took messages and confirmed none for {silent_s} s. The agent connects again by "
        "itself; the broker's log and load say more."
    ),
    "uplink.publish_failed": "A message could not be handed to {host} port {port} ({detail}); it will be sent again.",
    "uplink.oversized": (
        "{host} port {port} sent a packet of {size} bytes, more than any message to a gateway has. It was not "
        "read. Look who publishes below the gateway's down/ topics."
    ),
    "uplink.taken_over": (
        "The broker {host} dropped the gateway because another client came with the same id. Two gateways must "
        "not share an id: check site.gateway in both site files."
    ),
    "uplink.disconnected": "The broker {host} port {port} ended the connection: {reason}.",
    # the broker's refusals
    "uplink.refused": "The broker {host} port {port} refused the gateway: {reason}. The broker's log says why.",
    "uplink.refused_version": (
        "The broker {host} does not speak the version of MQTT in mqtt.version of the site file ({reason}): "
        'try version = "3.1.1", or 5.'
    ),
    "uplink.refused_client_id": (
        "The broker {host} does not accept the gateway's id ({reason}). It must be site.gateway, and where "
        "certificates are used, the certificate's common name."
    ),
    "uplink.refused_login": (
        "The broker {host} does not accept user name and password ({reason}). Check mqtt.username and the file "
        "mqtt.password_file, or the gateway's certificate."
    ),
    "uplink.refused_rights": (
        "The broker {host} knows the gateway and does not let it in ({reason}). The broker's access rules need its id."
    ),
    "uplink.refused_busy": "The broker {host} is too busy for the gateway ({reason}). The agent tries again later.",
    "uplink.refused_banned": (
        "The broker {host} has banned the gateway ({reason}). Whoever runs the broker can lift that."
    ),
    "uplink.refused_too_large": "The broker {host} finds the gateway's greeting too large ({reason}): raise its limit.",
    "uplink.refused_retain": "The broker {host} does not keep retained messages ({reason}): switch them on there.",
    "uplink.refused_qos": "The broker {host} does not offer QoS 1 ({reason}): findings cannot be sent through it.",
    "uplink.refused_elsewhere": (
        "The broker {host} sends the gateway to another server ({reason}; {elsewhere}). If that is right, write "
        "it to mqtt.host in the site file."
    ),
    "uplink.no_suback": "The broker {host} port {port} did not confirm the subscription. The agent tries again.",
    "uplink.no_subscription": (
        "The broker does not let the gateway read {topic} ({reason}): without it no finding is ever "
        "acknowledged. Its access rules must allow the gateway to read its own down/ topics."
    ),
    "uplink.publish_refused": (
        "The broker does not pass on what the gateway publishes on {topic} ({reason}). Its access rules must "
        "allow the gateway to write its own up/ topics, and the centre must be subscribed. The messages stay "
        "here and are sent again."
    ),
    "uplink.password_unreadable": "The password file {path} cannot be read: {detail}.",
    # TLS: the broker's certificate
    "uplink.tls_expired": (
        "The certificate of {host} has expired ({detail}). Renew it on the broker; if it is valid, the gateway's "
        "clock is wrong."
    ),
    "uplink.tls_not_yet_valid": (
        "The certificate of {host} is not valid yet ({detail}): most often the gateway's clock is behind. Check "
        "the date and the time service of the gateway."
    ),
    "uplink.tls_wrong_host": (
        "The certificate was not made for the name {host} ({detail}). Write the name that stands in the "
        "certificate to mqtt.host in the site file, or have one made for this name."
    ),
    "uplink.tls_wrong_ca": (
        "The certificate of {host} was not signed by the authority in mqtt.tls.ca ({detail}): a wrong file, or "
        "somebody in between answers in the broker's place. Compare the authority with the broker's; do not go "
        "on without it."
    ),
    "uplink.tls_revoked": "The certificate of {host} has been revoked ({detail}): the broker needs a new one.",
    "uplink.tls_not_trusted": "The certificate of {host} does not stand the check: {detail}.",
    # TLS: our own certificate
    "uplink.tls_client_expired": (
        "The broker {host} says that the gateway's certificate has expired: install a new one."
    ),
    "uplink.tls_client_revoked": (
        "The broker {host} says that the gateway's certificate was revoked: install a new one."
    ),
    "uplink.tls_client_unknown": (
        "The broker {host} does not know the authority that signed the gateway's certificate: install one that "
        "the utility's authority has signed, or add the authority to the broker."
    ),
    "uplink.tls_client_bad": "The broker {host} does not accept the gateway's certificate: the broker's log says why.",
    "uplink.tls_client_missing": (
        "The broker {host} asks for a certificate and the gateway has none: set mqtt.tls.cert and mqtt.tls.key."
    ),
    # TLS: files and handshake
    "uplink.tls_file_missing": "The file {path} named in [mqtt.tls] does not exist.",
    "uplink.tls_file_unreadable": "The file {path} named in [mqtt.tls] cannot be read by the agent's user: {detail}.",
    "uplink.tls_no_certificate": "The file {path} holds no certificate in PEM form.",
    "uplink.tls_no_key": "The file {path} holds no private key in PEM form that fits this use.",
    "uplink.tls_key_mismatch": (
        "The key {key} does not belong to the certificate {cert}: install the two files that were made together."
    ),
    "uplink.tls_key_encrypted": (
        "The key {path} is protected by a password, and nobody is there to type it. Store it without one, "
        "readable by the agent's user alone."
    ),
    "uplink.tls_not_spoken": (
        "What answers on {host} port {port} does not speak TLS: the broker's plain port, or a captive portal's "
        "web page. Correct mqtt.port in the site file, or log the gateway in at the portal."
    ),
    "uplink.tls_version": "The broker {host} does not offer TLS 1.2 or newer: it must be updated.",
    "uplink.tls_cut": (
        "{host} port {port} hung up during or right after the TLS handshake: it is not the broker's TLS port, or "
        "the broker did not like the gateway's certificate. The broker's log says which."
    ),
    "uplink.tls_handshake": (
        "The TLS handshake with {host} port {port} found no common ground: compare the broker's ciphers and key "
        "types with the gateway's certificate."
    ),
    "uplink.tls_failed": "TLS with {host} port {port} failed: {detail}.",
    # acknowledgements
    "uplink.ack_epoch": (
        "The centre acknowledges another store than this one: its record of this gateway is out of date."
    ),
    "uplink.ack_head": (
        "The centre's chain of this gateway is not ours: nothing is acknowledged until both sides have been compared."
    ),
    "uplink.ack_ahead": (
        "The centre has more of this chain than the gateway: the gateway's disk went back in time, or was copied."
    ),
    "uplink.ack_malformed": "What comes on the acknowledgement topic is no acknowledgement.",
}
