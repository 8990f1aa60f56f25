package dev.baton.transfer.tcp;

import dev.baton.tensor.DeviceBlocks;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;

/// The first frame of each side: who it is, which protocol versions it speaks, and what its KV blocks mean.
///
/// @param minVersion oldest protocol version spoken; in an answer, the one chosen
/// @param maxVersion newest protocol version spoken; in an answer, the one chosen
/// @param engineId the sender's incarnation
/// @param expectedEngineId the incarnation that the sender wants to talk to; empty in an answer
/// @param compatibility what must be equal on both sides, by field name
/// @param offer how processes of the same host reach the sender's pool, if it is on a device
record Hello(
        int minVersion,
        int maxVersion,
        String engineId,
        String expectedEngineId,
        SortedMap<String, String> compatibility,
        DeviceBlocks.Offer offer) {

    /// Newest version of the protocol that this code speaks.
    static final int VERSION = 1;
    /// Oldest one: the one before, once there is one.
    static final int OLDEST_VERSION = 1;

    /// `BATONKV` and a zero byte, little-endian.
    static final long MAGIC = 0x00564B4E4F544142L;

    /// What a decoder begins with: it says where it is, and asks nobody to read its pool.
    Hello to(String expectedEngine) {
        return new Hello(minVersion, maxVersion, engineId, expectedEngine, compatibility, offer.withoutHandle());
    }

    /// What a prefiller answers.
    Hello answer(int version, Hello peer) {
        return new Hello(version, version, engineId, "", compatibility, offerTo(peer));
    }

    /// How a peer reaches this side's pool: only one that says that it is on the same host is told.
    DeviceBlocks.Offer offerTo(Hello peer) {
        return !offer.isNone() && offer.host().equals(peer.offer.host()) ? offer : DeviceBlocks.Offer.NONE;
    }

    /// The newest version that both speak.
    private Optional<Integer> commonVersion(Hello other) {
        int newest = Math.min(maxVersion, other.maxVersion);
        return newest >= Math.max(minVersion, other.minVersion) ? Optional.of(newest) : Optional.empty();
    }

    /// The protocol version to use with the peer.
    ///
    /// @throws PeerRefusedException if there is none
    int version(Hello peer) throws PeerRefusedException {
        return commonVersion(peer)
                .orElseThrow(() -> new PeerRefusedException(
                        ErrorCode.VERSION,
                        "no common protocol version: %s speaks %d to %d, %s speaks %d to %d"
                                .formatted(
                                        engineId,
                                        minVersion,
                                        maxVersion,
                                        peer.engineId,
                                        peer.minVersion,
                                        peer.maxVersion)));
    }

    /// Checks what the peer said.
    ///
    /// @return the protocol version to use
    /// @throws PeerRefusedException if the two must not exchange blocks; names the field and both values
    int agree(Hello peer) throws PeerRefusedException {
        int version = version(peer);
        if (!peer.expectedEngineId.isEmpty() && !peer.expectedEngineId.equals(engineId)) {
            throw new PeerRefusedException(
                    ErrorCode.WRONG_ENGINE,
                    "engine %s was expected here, but this is %s (restarted since?)"
                            .formatted(peer.expectedEngineId, engineId));
        }
        TreeSet<String> fields = new TreeSet<>(compatibility.keySet());
        fields.addAll(peer.compatibility.keySet());
        for (String field : fields) {
            String mine = compatibility.getOrDefault(field, "(absent)");
            String theirs = peer.compatibility.getOrDefault(field, "(absent)");
            if (!mine.equals(theirs)) {
                throw new PeerRefusedException(
                        ErrorCode.INCOMPATIBLE,
                        "%s differs: \"%s\" on %s, \"%s\" on %s"
                                .formatted(field, mine, engineId, theirs, peer.engineId));
            }
        }
        return version;
    }

    /// @param proofs what follows the fields where a key is shared
    void send(FrameChannel frames, Duration timeout, byte[]... proofs) throws IOException {
        ByteBuffer body = frames.begin(FrameType.HELLO)
                .putLong(MAGIC)
                .putShort((short) minVersion)
                .putShort((short) maxVersion);
        FrameChannel.putString(body, engineId);
        FrameChannel.putString(body, expectedEngineId);
        body.putShort((short) compatibility.size());
        for (Map.Entry<String, String> field : compatibility.entrySet()) {
            FrameChannel.putString(body, field.getKey());
            FrameChannel.putString(body, field.getValue());
        }
        body.putShort((short) (offer.isNone() ? 0 : 1));
        if (!offer.isNone()) {
            FrameChannel.putString(body, offer.host());
            FrameChannel.putString(body, offer.device());
            FrameChannel.putString(body, offer.handle());
            body.putInt(offer.numBlocks());
        }
        for (byte[] proof : proofs) {
            body.put(proof);
        }
        frames.send(timeout);
    }

    /// Reads the HELLO frame that was received, up to its known fields. What follows them are proofs where a key is
    /// shared, and left to later versions otherwise.
    static Hello read(FrameChannel frames) throws ProtocolException {
        if (frames.readI64() != MAGIC) {
            throw new ProtocolException("not a Baton KV peer: wrong magic");
        }
        int min = frames.readU16();
        int max = frames.readU16();
        String engineId = frames.readString(Limits.MAX_ID_BYTES);
        String expected = frames.readString(Limits.MAX_ID_BYTES);
        int fields = frames.readU16();
        if (fields > Limits.MAX_FIELDS) {
            throw new ProtocolException("HELLO with %d fields; at most %d".formatted(fields, Limits.MAX_FIELDS));
        }
        SortedMap<String, String> compatibility = new TreeMap<>();
        for (int i = 0; i < fields; i++) {
            String name = frames.readString(Limits.MAX_FIELD_NAME_BYTES);
            if (compatibility.put(name, frames.readString(Limits.MAX_FIELD_VALUE_BYTES)) != null) {
                throw new ProtocolException("HELLO names field \"%s\" twice".formatted(name));
            }
        }
        return new Hello(min, max, engineId, expected, compatibility, readOffer(frames));
    }

    private static DeviceBlocks.Offer readOffer(FrameChannel frames) throws ProtocolException {
        if (!frames.body().hasRemaining() || frames.readU16() != 1) {
            return DeviceBlocks.Offer.NONE;
        }
        return new DeviceBlocks.Offer(
                frames.readString(Limits.MAX_OFFER_BYTES),
                frames.readString(Limits.MAX_OFFER_BYTES),
                frames.readString(Limits.MAX_OFFER_BYTES),
                frames.readI32());
    }
}
