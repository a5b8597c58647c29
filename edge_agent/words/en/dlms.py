"""What to do when a DLMS meter refuses, or is refused: by the code that the driver's error carries."""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    # what came is not understood
    "dlms.malformed": (
        "What the meter sent is not what the standard says: {what}. If it happens again, note the meter's model and "
        "firmware and keep the frames (`edge-agent read`)."
    ),
    "dlms.desync": (
        "The data link with the meter lost its thread: {what}. It is made anew by itself; if it happens often, look "
        "for noise, a second master, or a converter that splits frames."
    ),
    "dlms.hung_up": (
        "The meter has ended the data link, usually because nobody asked for a while. The next reading opens it again."
    ),
    "dlms.link_refused": (
        "The meter answers and does not connect: another client may have it (hand-held, collection terminal), or the "
        "logical device or physical address is not its own. Try again in two minutes, then check the address."
    ),
    # what this agent does not speak
    "dlms.not_supported.short_names": (
        "The meter is addressed by short names, which this agent does not speak. Ask the maker whether it has an "
        "association by logical names (another client address), or read it by another protocol."
    ),
    "dlms.not_supported.suite": (
        "The meter protects with security suite 1 or 2; this agent knows suite 0. Have the meter set to suite 0, or "
        "read it by another protocol."
    ),
    "dlms.not_supported.mode_e": (
        "The meter begins in mode E of IEC 62056-21, as on optical ports, which this agent does not speak. Use the "
        "meter's RS-485 or network port, or have the port set to HDLC directly."
    ),
    "dlms.not_supported.general_block_transfer": (
        "The meter answers in general blocks, which this agent does not speak. Have general block transfer switched "
        "off in the meter."
    ),
    "dlms.not_supported.general_ciphering": (
        "The meter answers with general-ciphering or a signature; this agent knows glo, ded and general-glo. Have the "
        "meter's association set to one of these."
    ),
    "dlms.not_supported.compact_array": (
        "The meter gives this attribute as a compact-array, which this agent does not read yet: {detail}."
    ),
    "dlms.not_supported.delta": (
        "The meter compresses its profile with delta types, which this agent does not read yet: {detail}."
    ),
    "dlms.not_supported.compression": (
        "The meter compresses its answers, which this agent does not read. Have compression switched off in the meter."
    ),
    "dlms.not_supported.mechanism": (
        "This agent knows no authentication, LLS (a password) and HLS-5 GMAC; the site file asks for another: {detail}."
    ),
    "dlms.not_supported.ciphering": (
        "This meter needs keys, and the package that uses them is not installed: {detail}. Install the agent with its "
        "extra `ciphered`."
    ),
    # association
    "dlms.association.null": "The meter refuses and gives no reason. Check client address, mechanism and keys.",
    "dlms.association.no_reason_given": (
        "The meter refuses and gives no reason. Check client address, mechanism, password and keys, in this order."
    ),
    "dlms.association.application_context_name_not_supported": (
        "The meter does not know this kind of association: with keys in the site file it is ciphered, without it is "
        "not. Give the keys, or take them out, as this client of the meter needs."
    ),
    "dlms.association.calling_ap_title_not_recognized": (
        "The meter does not know this agent's system title. Set the title that the meter expects of this client."
    ),
    "dlms.association.calling_ap_invocation_identifier_not_recognized": (
        "The meter refuses this client's user identification ({diagnostic}). Ask who set up the meter."
    ),
    "dlms.association.calling_ae_qualifier_not_recognized": (
        "The meter refuses this client's certificate or qualifier ({diagnostic}). Ask who set up the meter."
    ),
    "dlms.association.calling_ae_invocation_identifier_not_recognized": (
        "The meter wants to know which user of this client asks ({diagnostic}). Ask who set up the meter."
    ),
    "dlms.association.called_ap_title_not_recognized": (
        "The meter is not the one that was asked for ({diagnostic}). Check the address and the meter's system title."
    ),
    "dlms.association.called_ap_invocation_identifier_not_recognized": (
        "The meter is not the one that was asked for ({diagnostic}). Check the address."
    ),
    "dlms.association.called_ae_qualifier_not_recognized": (
        "The meter is not the one that was asked for ({diagnostic}). Check the address."
    ),
    "dlms.association.called_ae_invocation_identifier_not_recognized": (
        "The meter is not the one that was asked for ({diagnostic}). Check the address."
    ),
    "dlms.association.authentication_mechanism_name_not_recognised": (
        "The meter does not know this kind of authentication for this client. Try another: none, lls or hls5."
    ),
    "dlms.association.authentication_mechanism_name_required": (
        "The meter wants this client to authenticate itself. Set lls with its password, or hls5 with its keys."
    ),
    "dlms.association.authentication_failure": (
        "The meter refuses the password or the proof. Check them against the meter's papers; do not try many times, "
        "some meters lock the client."
    ),
    "dlms.association.authentication_required": (
        "The meter wants more than a password from this client. Set hls5 with its keys."
    ),
    "dlms.association.provider_null": "The meter refuses and gives no reason. Check the client address.",
    "dlms.association.provider_no_reason_given": "The meter refuses and gives no reason. Check the client address.",
    "dlms.association.no_common_acse_version": "The meter speaks another version of ACSE; it cannot be read.",
    "dlms.association.initiate": (
        "The meter refuses what was proposed ({error}). A smaller largest APDU helps against pdu-size-too-short; for "
        "anything else check client address and keys."
    ),
    "dlms.association.busy": (
        "The meter cannot associate now ({said}): it has one association at a time, and another client has it, or the "
        "last one has not timed out yet. It is asked again later."
    ),
    "dlms.association.lost": (
        "The meter no longer knows of the association ({said}); a new one is opened by itself. If it happens at every "
        "poll, poll more often than its inactivity time-out or have that raised."
    ),
    "dlms.meter_unproven": (
        "The meter has not shown that it knows the key: {what}. Check the keys and the meter's system title; if they "
        "are right, find out what answers at this address."
    ),
    "dlms.service_error": "The meter cannot do what was asked ({error}). Check the profile against the meter's model.",
    # exception-response
    "dlms.exception.operation_not_possible": (
        "The meter cannot do this now ({state}). If it stays so, check client address and profile."
    ),
    "dlms.exception.service_not_supported": (
        "The meter does not know this service ({state}). Lists of attributes and selection are not known everywhere: "
        "switch them off in the profile."
    ),
    "dlms.exception.other_reason": "The meter refuses and gives no reason ({state}). Check the profile.",
    "dlms.exception.pdu_too_long": "The question is too long for the meter. Set a smaller number of attributes a list.",
    "dlms.exception.deciphering_error": (
        "The meter cannot decipher what this agent sends: a key or a system title is not the meter's. Check both keys "
        "and this client's title."
    ),
    "dlms.exception.invocation_counter_error": (
        "The meter has seen a higher invocation counter than this agent's. The counter is set higher by itself; if "
        "this comes again, another system uses the same client and key: give this agent a client of its own."
    ),
    "dlms.exception.other": "The meter refuses ({state}, {error}). Check the profile.",
    # one attribute
    "dlms.access.success": "The meter says that it gave {what} and did not. Keep the frames (`edge-agent read`).",
    "dlms.access.hardware_fault": "The meter reports a hardware fault when it is asked for {what}. Have it looked at.",
    "dlms.access.temporary_failure": "The meter cannot give {what} just now; it is asked again.",
    "dlms.access.read_write_denied": (
        "This client may not read {what}. Use a client with more rights, or have the right granted."
    ),
    "dlms.access.object_undefined": "The meter has no such object: {what}. Check that the profile is the right one.",
    "dlms.access.object_class_inconsistent": (
        "The object is of another class in this meter: {what}. Check that the profile is the right one."
    ),
    "dlms.access.object_unavailable": "The meter does not give {what} to this client, or not now.",
    "dlms.access.type_unmatched": (
        "The meter does not take the selection as it is ({what}). Set another form of time stamps in the profile."
    ),
    "dlms.access.scope_of_access_violated": (
        "This client may not read {what}, or not so much of it at once. Use a client with more rights."
    ),
    "dlms.access.data_block_unavailable": "The meter lost the rest of a long answer ({what}); it is asked again.",
    "dlms.access.long_get_aborted": "The meter broke off a long answer ({what}); it is asked again.",
    "dlms.access.no_long_get_in_progress": "The meter has forgotten the long answer ({what}); it is asked again.",
    "dlms.access.long_set_aborted": "The meter answers {what} as if it were written to. Keep the frames.",
    "dlms.access.no_long_set_in_progress": "The meter answers {what} as if it were written to. Keep the frames.",
    "dlms.access.data_block_number_invalid": "The meter counts its blocks otherwise ({what}); it is asked again.",
    "dlms.access.other_reason": "The meter does not give {what} and says no more. Check the profile.",
    # protection
    "dlms.protection.weaker": (
        "The meter answered with less protection than was agreed: what it said was not used. Check the meter's "
        "security policy; if it is right, find out what answers at this address."
    ),
    "dlms.protection.tag": (
        "An answer does not carry the mark of the meter's key: what it said was not used. Check both keys; if they "
        "are right, find out what is between this agent and the meter."
    ),
    "dlms.protection.old_counter": (
        "An answer came that was sent before, or the meter began to count anew: it was not used. After an exchange of "
        "the meter or its keys, restart the agent; else find out what is between it and the meter."
    ),
    "dlms.protection.other_title": (
        "Another meter answered than was asked: what it said was not used. Check the address; after an exchange of the "
        "meter, set its new system title."
    ),
    "dlms.protection.no_title": "The meter does not say its system title: set it in the site file, from its papers.",
    "dlms.protection.other_key": (
        "An answer is under another key than was agreed: it was not used. Check whether a dedicated key is set."
    ),
    "dlms.counter_spent": (
        "No invocation counter is left under this key, or the meter claims one that would leave almost none. Have the "
        "meter's key changed, and set the new key here."
    ),
    # keys, counters and clocks
    "dlms.counter_unkept": (
        "The invocation counter of this key cannot be kept on the disk, and nothing is enciphered without: {what}. "
        "The user edge-agent must be able to write to the folder; if another agent has the key, give this one a client "
        "of its own. A damaged file: take it away, and the counter is read from the meter."
    ),
    "dlms.key_absent": (
        "The meter needs a secret that cannot be had ({key}: {what}). Put it where the site file says, readable for "
        "the user edge-agent alone; a key is 32 hexadecimal digits."
    ),
    "dlms.clock_off": (
        "The meter's clock is {off_s} s off, so nothing that it stamped is used. Have the clock set; what the agent "
        "reads itself is not concerned."
    ),
    "dlms.clock_unknown": (
        "What the meter's time stamps mean in UTC cannot be told: {why}. If it leaves its deviation from UTC out, "
        "say utc_offset_min in its [device.dlms]."
    ),
    "dlms.time_unset": (
        "The gateway has no true time yet, so the meter's clock cannot be compared with it; asked again later."
    ),
    "dlms.no_profile": (
        "The meter's load profile cannot be used: {why}. Correct load_profile in the device's profile, or take it out."
    ),
    "dlms.no_log": (
        "The meter's event log cannot be used: {why}. Correct event_log in the device's profile, or take it out; "
        "what the meter counts is heard without."
    ),
}
