package dev.baton.transfer.tcp;

import java.nio.charset.StandardCharsets;

/// Bounds of the wire protocol: nothing that a peer says makes this side allocate or loop beyond them.
final class Limits {
    /// Length, type, reserved.
    static final int FRAME_HEADER_BYTES = 8;
    /// Epoch, block index, tokens, bytes, checksum.
    static final int BLOCK_BODY_BYTES = 24;
    /// Epoch, layer, block index, tokens, bytes, checksum.
    static final int SLICE_BODY_BYTES = 28;

    static final int MAX_BODY_BYTES = 32 * 1024;
    static final int MAX_ID_BYTES = 512;
    static final int MAX_FIELDS = 64;
    static final int MAX_FIELD_NAME_BYTES = 128;
    static final int MAX_FIELD_VALUE_BYTES = 1024;
    /// Of each text in an offer of a device's pool.
    static final int MAX_OFFER_BYTES = 256;
    /// Of the digest of a prompt.
    static final int MAX_DIGEST_BYTES = 64;
    static final int MAX_MESSAGE_BYTES = 1024;
    /// Blocks that one PULL asks for; longer loads take several.
    static final int MAX_PULL_BLOCKS = 3_500;
    /// Requests that one HEARTBEAT renews; more take several.
    static final int MAX_HEARTBEAT_IDS = 60;
    /// Prefillers that a decoder deals with at a time.
    static final int MAX_PEERS = 256;
    /// Of these, prefillers that it stays connected to before anything names them: the others come and go.
    static final int MAX_ACQUAINTANCES = MAX_PEERS / 2;

    private Limits() {}

    /// Whether a text may travel as the id of an engine or a request.
    static boolean isId(String text) {
        return !text.isEmpty()
                && text.length() <= MAX_ID_BYTES
                && text.getBytes(StandardCharsets.UTF_8).length <= MAX_ID_BYTES
                && !FrameChannel.hasControls(text);
    }
}
