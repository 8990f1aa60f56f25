package dev.baton.http;

import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslProvider;
import io.vertx.core.Vertx;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.Supplier;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;

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
    /// @return makes the handlers of connections; the authorities that the JDK trusts are read when it is first
    ///     asked
    /// @throws HttpException of kind [HttpException.Kind#BIND] if a file cannot be read or used
    Supplier<SslContext> read(Vertx vertx) {
        if (authorities.isEmpty() && certificate.isEmpty()) {
            return new JdkAuthorities();
        }
        SslContextBuilder builder = SslContextBuilder.forClient();
        try {
            if (authorities.isPresent()) {
                builder.trustManager(PemFiles.authorities(authorities.get()).getTrustManagerFactory(vertx));
            }
            if (certificate.isPresent() && key.isPresent()) {
                builder.keyManager(
                        PemFiles.keyPair(certificate.get(), key.get()).getKeyManagerFactory(vertx));
            }
            SslContext context = build(builder);
            return () -> context;
        } catch (HttpException e) {
            throw e;
        } catch (Exception e) { // the managers are made with undeclared ones
            throw new HttpException(
                    HttpException.Kind.BIND, "the certificates for engines cannot be used: " + e.getMessage(), e);
        }
    }

    private static SslContext build(SslContextBuilder builder) throws SSLException {
        return builder.sslProvider(SslProvider.JDK)
                .protocols("TLSv1.3", "TLSv1.2")
                .endpointIdentificationAlgorithm("HTTPS")
                .build();
    }

    private static final class JdkAuthorities implements Supplier<SslContext> {
        private @Nullable SslContext made;

        @Override
        public synchronized SslContext get() {
            SslContext context = made;
            if (context == null) {
                try {
                    context = build(SslContextBuilder.forClient());
                } catch (SSLException e) {
                    throw new HttpException(HttpException.Kind.CONNECT, "no TLS: " + e.getMessage(), e);
                }
                made = context;
            }
            return context;
        }
    }
}
