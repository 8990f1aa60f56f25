package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import java.net.URI;
import java.net.URISyntaxException;
import java.util.Optional;

/// What a `remote_url` says about a server.
///
/// @param user name and perhaps, after a colon, password; only some schemes have them
/// @param path what follows the port, without its slash
record ServerAddress(String host, int port, Optional<String> user, String path) {

    /// @param defaultPort 0 if there is none
    /// @throws TransferException if the text is no such address; it is not repeated, as it may hold a password
    static ServerAddress parse(String url, int defaultPort) {
        try {
            URI uri = new URI(url);
            int port = uri.getPort() < 0 ? defaultPort : uri.getPort();
            if (uri.getHost() != null && port > 0 && port <= 0xffff && uri.getQuery() == null) {
                String path = uri.getPath() == null ? "" : uri.getPath();
                return new ServerAddress(
                        uri.getHost().replaceAll("[\\[\\]]", ""),
                        port,
                        Optional.ofNullable(uri.getUserInfo()),
                        path.startsWith("/") ? path.substring(1) : path);
            }
        } catch (URISyntaxException e) {
            // answered below, without the text
        }
        throw new TransferException(
                "remote_url is no address such as lm://host:65432, redis://host:6379 or mooncakestore://host:50051");
    }

    @Override
    public String toString() {
        return "%s:%d".formatted(host, port);
    }
}
