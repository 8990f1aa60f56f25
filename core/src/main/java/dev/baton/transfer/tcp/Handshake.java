package dev.baton.transfer.tcp;

import java.io.IOException;
import java.net.ProtocolException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.Optional;

/// How a connection begins: each side says who it is and checks the other, and where they share a key each
/// proves that it has it, by a code over what both have said and two numbers drawn by lot, one by each.
///
/// Stateless, thread-safe.
final class Handshake {
    private static final byte[] NONE = {};
    private static final String NOT_KNOWN =
            "%s has no shared key, but %s has one: give both the same kv_key_file, or neither";
    private static final String OTHER_KEY = "the shared key of %s is another one: give both the same kv_key_file";

    private Handshake() {}

    /// The part of the side that dials.
    ///
    /// @param expectedEngineId whom it wants to talk to
    /// @return what the other side said
    /// @throws PeerRefusedException if the two must not exchange blocks
    static Hello dial(
            FrameChannel frames, Hello self, String expectedEngineId, Optional<SharedKey> key, Duration timeout)
            throws IOException {
        Hello mine = self.to(expectedEngineId);
        byte[] nonce = key.isPresent() ? SharedKey.nonce() : NONE;
        mine.send(frames, timeout, nonce);
        FrameType type = frames.receive(timeout, timeout);
        if (type == FrameType.ERROR) {
            throw frames.readError();
        }
        if (type != FrameType.HELLO) {
            throw new ProtocolException(type + " where HELLO was due");
        }
        Hello peer = Hello.read(frames);
        byte[] theirs = key.isPresent() ? prove(frames, mine, peer, key.get(), nonce) : NONE;
        if (!peer.engineId().equals(expectedEngineId)) {
            throw new PeerRefusedException(
                    ErrorCode.WRONG_ENGINE,
                    "engine %s was expected there, but %s answered".formatted(expectedEngineId, peer.engineId()));
        }
        int _ = self.agree(peer);
        if (key.isPresent()) {
            frames.begin(FrameType.AUTH).put(code(key.get(), "dials", mine, peer, nonce, theirs));
            frames.send(timeout);
        }
        return peer;
    }

    /// Checks what the answer proves.
    ///
    /// @return the number that the other side has drawn
    private static byte[] prove(FrameChannel frames, Hello mine, Hello peer, SharedKey key, byte[] nonce)
            throws IOException {
        if (!frames.body().hasRemaining()) {
            throw new PeerRefusedException(ErrorCode.NOT_KNOWN, NOT_KNOWN.formatted(peer.engineId(), mine.engineId()));
        }
        byte[] theirs = frames.readBytes(SharedKey.NONCE_BYTES);
        byte[] proof = frames.readBytes(SharedKey.MAC_BYTES);
        if (!MessageDigest.isEqual(proof, code(key, "serves", mine, peer, nonce, theirs))) {
            throw new PeerRefusedException(ErrorCode.NOT_KNOWN, OTHER_KEY.formatted(peer.engineId()));
        }
        return theirs;
    }

    /// The part of the side that is dialled.
    ///
    /// @return what the other side said
    /// @throws PeerRefusedException if the two must not exchange blocks; the other side is still to be told
    static Hello serve(FrameChannel frames, Hello self, Optional<SharedKey> key, Duration timeout) throws IOException {
        FrameType type = frames.receive(timeout, timeout);
        if (type != FrameType.HELLO) {
            throw new ProtocolException(type + " before HELLO");
        }
        Hello peer = Hello.read(frames);
        if (key.isEmpty()) {
            self.answer(self.agree(peer), peer).send(frames, timeout);
            return peer;
        }
        if (!frames.body().hasRemaining()) {
            throw new PeerRefusedException(ErrorCode.NOT_KNOWN, NOT_KNOWN.formatted(peer.engineId(), self.engineId()));
        }
        byte[] theirs = frames.readBytes(SharedKey.NONCE_BYTES);
        byte[] nonce = SharedKey.nonce();
        Hello answer = self.answer(self.version(peer), peer);
        answer.send(frames, timeout, nonce, code(key.get(), "serves", peer, answer, theirs, nonce));
        type = frames.receive(timeout, timeout);
        if (type != FrameType.AUTH) {
            throw new ProtocolException(type + " where AUTH was due");
        }
        byte[] proof = frames.readBytes(SharedKey.MAC_BYTES);
        if (!MessageDigest.isEqual(proof, code(key.get(), "dials", peer, answer, theirs, nonce))) {
            throw new PeerRefusedException(ErrorCode.NOT_KNOWN, OTHER_KEY.formatted(peer.engineId()));
        }
        int _ = self.agree(peer);
        return peer;
    }

    private static byte[] code(
            SharedKey key, String who, Hello dialler, Hello server, byte[] diallersNonce, byte[] serversNonce) {
        return key.mac(
                "baton-kv " + who,
                diallersNonce,
                serversNonce,
                dialler.toString().getBytes(StandardCharsets.UTF_8),
                server.toString().getBytes(StandardCharsets.UTF_8));
    }
}
