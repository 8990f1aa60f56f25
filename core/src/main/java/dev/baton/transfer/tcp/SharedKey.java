package dev.baton.transfer.tcp;

import dev.baton.transfer.TransferException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/// The key that the instances of a deployment share, by which each knows the other one: HMAC-SHA256 over what both
/// have said and what each has drawn by lot, so that nothing that was said before can be said again. The key itself
/// never travels.
///
/// Immutable, thread-safe.
final class SharedKey {
    static final int NONCE_BYTES = 32;
    static final int MAC_BYTES = 32;
    private static final int LEAST_BYTES = 32;
    private static final int MOST_BYTES = 4_096;
    private static final String ALGORITHM = "HmacSHA256";
    private static final SecureRandom RANDOM = new SecureRandom();

    private final SecretKeySpec key;

    private SharedKey(byte[] bytes) {
        this.key = new SecretKeySpec(bytes, ALGORITHM);
    }

    /// Reads a key; white space at its end does not count.
    ///
    /// @param setting names the file in messages
    /// @throws TransferException if the file cannot be read, or the key is too short
    static SharedKey read(Path file, String setting) {
        byte[] bytes;
        try {
            if (Files.size(file) > MOST_BYTES) {
                throw new TransferException(
                        "%s: %s is no key: it has more than %d bytes".formatted(setting, file, MOST_BYTES));
            }
            bytes = Files.readString(file, StandardCharsets.ISO_8859_1)
                    .stripTrailing()
                    .getBytes(StandardCharsets.ISO_8859_1);
        } catch (IOException e) {
            throw new TransferException("%s: %s cannot be read: %s".formatted(setting, file, e), e);
        }
        if (bytes.length < LEAST_BYTES) {
            throw new TransferException(
                    "%s: the key in %s has %d bytes; needed: at least %d that nobody can guess, as of openssl rand -hex 32"
                            .formatted(setting, file, bytes.length, LEAST_BYTES));
        }
        return new SharedKey(bytes);
    }

    static byte[] nonce() {
        byte[] nonce = new byte[NONCE_BYTES];
        RANDOM.nextBytes(nonce);
        return nonce;
    }

    /// What only those can say who have the key.
    ///
    /// @param label which of the two says it, so that neither can be answered with its own words
    byte[] mac(String label, byte[]... parts) {
        try {
            Mac mac = Mac.getInstance(ALGORITHM);
            mac.init(key);
            mac.update(label.getBytes(StandardCharsets.UTF_8));
            for (byte[] part : parts) {
                mac.update((byte) 0);
                mac.update(new byte[] {
                    (byte) (part.length >> 24),
                    (byte) (part.length >> 16),
                    (byte) (part.length >> 8),
                    (byte) part.length
                });
                mac.update(part);
            }
            return mac.doFinal();
        } catch (GeneralSecurityException e) {
            throw new TransferException("this Java has no HMAC-SHA256: " + e.getMessage(), e);
        }
    }
}
