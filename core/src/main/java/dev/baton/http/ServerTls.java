package dev.baton.http;

import io.vertx.core.http.ClientAuth;
import io.vertx.core.net.ServerSSLOptions;
import java.nio.file.Path;
import java.util.Optional;

/// How a server proves who it is, and whether its clients have to. The files are PEM, and are read again while the
/// server runs: a changed certificate holds for connections opened from then on. Immutable.
///
/// @param certificate the server's certificate, and those between it and its authority
/// @param key its private key
/// @param clientAuthorities certificates of the authorities that vouch for clients
/// @param clients whether clients show a certificate
public record ServerTls(Path certificate, Path key, Optional<Path> clientAuthorities, Clients clients) {
    /// Whether clients show a certificate of their own.
    public enum Clients {
        /// They are not asked.
        NONE,
        /// They may; one that nobody vouches for is refused.
        OPTIONAL,
        /// They must.
        REQUIRED
    }

    /// @throws HttpException of kind [HttpException.Kind#BIND] if clients are to show certificates and nobody is
    ///     named who vouches for them
    public ServerTls {
        if (clients != Clients.NONE && clientAuthorities.isEmpty()) {
            throw new HttpException(
                    HttpException.Kind.BIND, "clients are to show certificates, but no file of authorities is given");
        }
    }

    /// Clients show no certificate.
    public static ServerTls of(Path certificate, Path key) {
        return new ServerTls(certificate, key, Optional.empty(), Clients.NONE);
    }

    /// Reads the files.
    ///
    /// @throws HttpException of kind [HttpException.Kind#BIND] if one cannot be read
    ServerSSLOptions read() {
        ServerSSLOptions options = new ServerSSLOptions()
                .setKeyCertOptions(PemFiles.keyPair(certificate, key))
                .setClientAuth(
                        switch (clients) {
                            case NONE -> ClientAuth.NONE;
                            case OPTIONAL -> ClientAuth.REQUEST;
                            case REQUIRED -> ClientAuth.REQUIRED;
                        });
        clientAuthorities.ifPresent(file -> options.setTrustOptions(PemFiles.authorities(file)));
        return options;
    }
}
