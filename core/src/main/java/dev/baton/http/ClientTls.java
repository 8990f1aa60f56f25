package dev.baton.http;

import io.vertx.core.net.ClientSSLOptions;
import java.nio.file.Path;
import java.util.Optional;

/// How a client knows the servers of `https` addresses, and how it proves who it is. The host of the address must
/// be in the server's certificate. Files are PEM, read when the client is made. Immutable.
///
/// @param authorities certificates of the authorities that vouch for servers; empty: those that the JDK trusts
/// @param certificate the client's own certificate
/// @param key its private key
public record ClientTls(Optional<Path> authorities, Optional<Path> certificate, Optional<Path> key) {
    /// @throws HttpException of kind [HttpException.Kind#BIND] for a certificate without key or the other way round
    public ClientTls {
        if (certificate.isPresent() != key.isPresent()) {
            throw new HttpException(
                    HttpException.Kind.BIND, "a client's certificate and its key go together; one of them is missing");
        }
    }

    /// The authorities that the JDK trusts, and no certificate of its own.
    public static ClientTls defaults() {
        return new ClientTls(Optional.empty(), Optional.empty(), Optional.empty());
    }

    /// Reads the files.
    ///
    /// @throws HttpException of kind [HttpException.Kind#BIND] if one cannot be read
    ClientSSLOptions read() {
        ClientSSLOptions options = new ClientSSLOptions().setHostnameVerificationAlgorithm("HTTPS");
        authorities.ifPresent(file -> options.setTrustOptions(PemFiles.authorities(file)));
        if (certificate.isPresent() && key.isPresent()) {
            options.setKeyCertOptions(PemFiles.keyPair(certificate.get(), key.get()));
        }
        return options;
    }
}
