package dev.baton.transfer.p2p;

import dev.baton.wire.Fields;
import java.net.ProtocolException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;

/// What must be equal on both sides, and its digest, which goes with each tensor. Immutable, thread-safe.
///
/// @param fields by name
/// @param digest of all fields
record Compatibility(SortedMap<String, String> fields, String digest) {
    /// Of these fields.
    static Compatibility of(SortedMap<String, String> fields) {
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256")
                    .digest(new TreeMap<>(fields).toString().getBytes(StandardCharsets.UTF_8));
            return new Compatibility(new TreeMap<>(fields), HexFormat.of().formatHex(hash));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e); // every JDK has it
        }
    }

    /// Compares a peer's fields.
    ///
    /// @throws ProtocolException naming the first that differs
    void check(Map<String, String> theirs, String peer) throws ProtocolException {
        TreeSet<String> names = new TreeSet<>(fields.keySet());
        names.addAll(theirs.keySet());
        for (String name : names) {
            String here = fields.getOrDefault(name, "(absent)");
            String there = theirs.getOrDefault(name, "(absent)");
            if (!here.equals(there)) {
                throw new ProtocolException("%s differs: \"%s\" here, \"%s\" on %s".formatted(name, here, there, peer));
            }
        }
    }

    /// Looks whether a message comes from a peer that has been compared with.
    ///
    /// @throws ProtocolException if it does not
    void check(Fields message) throws ProtocolException {
        if (!message.textOr("baton", "").equals(digest)) {
            throw new ProtocolException("it is not for an instance of this model and configuration");
        }
    }
}
