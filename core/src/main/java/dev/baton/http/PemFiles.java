package dev.baton.http;

import io.vertx.core.buffer.Buffer;
import io.vertx.core.net.PemKeyCertOptions;
import io.vertx.core.net.PemTrustOptions;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/// Reads certificates and keys.
final class PemFiles {
    private PemFiles() {}

    static PemKeyCertOptions keyPair(Path certificate, Path key) {
        return new PemKeyCertOptions().setCertValue(read(certificate)).setKeyValue(read(key));
    }

    static PemTrustOptions authorities(Path file) {
        return new PemTrustOptions().addCertValue(read(file));
    }

    private static Buffer read(Path file) {
        try {
            return Buffer.buffer(Files.readAllBytes(file));
        } catch (IOException e) {
            throw new HttpException(
                    HttpException.Kind.BIND, "%s cannot be read: %s".formatted(file, FileProblem.of(e)), e);
        }
    }
}
