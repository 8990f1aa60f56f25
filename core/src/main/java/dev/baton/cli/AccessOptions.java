package dev.baton.cli;

import dev.baton.http.ApiKeys;
import dev.baton.http.Cors;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.ServerTls;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import tools.jackson.core.JacksonException;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.json.JsonMapper;

/// Flags about who may ask a server, and which web pages may read its answers.
@Command
final class AccessOptions {
    static final String API_KEY = "--api-key";

    private static final JsonMapper JSON = new JsonMapper();

    @Option(
            names = API_KEY,
            arity = "1..*",
            paramLabel = "KEY",
            description = "Keys of which a client must show one, as 'Authorization: Bearer KEY', on paths under /v1,"
                    + " /v2, /inference and /cohere; all others stay open. Better by BATON_API_KEY: everybody on"
                    + " this machine can read command lines.")
    List<String> apiKeys = new ArrayList<>();

    @Option(
            names = "--api-key-file",
            paramLabel = "FILE",
            description =
                    "YAML or JSON file with further keys, each with its name, its hash and its limits. A changed file"
                            + " is read again.")
    @Nullable
    Path apiKeyFile;

    @Option(
            names = "--allowed-origins",
            arity = "1..*",
            paramLabel = "ORIGIN",
            description = "Origins of web pages that may read the answers, also as a JSON list, * for all (default:"
                    + " none).")
    List<String> allowedOrigins = new ArrayList<>();

    @Option(
            names = "--allowed-methods",
            arity = "1..*",
            paramLabel = "METHOD",
            description = "Methods that such pages may use (default: all).")
    List<String> allowedMethods = new ArrayList<>();

    @Option(
            names = "--allowed-headers",
            arity = "1..*",
            paramLabel = "HEADER",
            description = "Header fields that such pages may send (default: all).")
    List<String> allowedHeaders = new ArrayList<>();

    @Option(names = "--allow-credentials", negatable = true, description = "Such pages may send cookies along.")
    boolean allowCredentials;

    @Option(
            names = "--ssl-certfile",
            paramLabel = "FILE",
            description = "The server's certificate chain, PEM; it then speaks TLS. A changed file is read again.")
    @Nullable
    Path sslCertfile;

    @Option(names = "--ssl-keyfile", paramLabel = "FILE", description = "The certificate's private key, PEM.")
    @Nullable
    Path sslKeyfile;

    @Option(
            names = "--ssl-ca-certs",
            paramLabel = "FILE",
            description = "Certificates of the authorities that vouch for clients, PEM.")
    @Nullable
    Path sslCaCerts;

    @Option(
            names = "--ssl-cert-reqs",
            paramLabel = "0|1|2",
            defaultValue = "0",
            description = "Whether clients show a certificate: 0, no; 1, they may; 2, they must"
                    + " (default: ${DEFAULT-VALUE}).")
    int sslCertReqs;

    private Optional<ServerTls> tls() {
        if (sslCertReqs < 0 || sslCertReqs > 2) {
            throw new IllegalArgumentException("--ssl-cert-reqs is " + sslCertReqs + "; it is 0, 1 or 2.");
        }
        if (sslCertfile == null && sslKeyfile == null) {
            if (sslCaCerts != null || sslCertReqs != 0) {
                throw new IllegalArgumentException(
                        "--ssl-ca-certs and --ssl-cert-reqs need --ssl-certfile and --ssl-keyfile.");
            }
            return Optional.empty();
        }
        if (sslCertfile == null || sslKeyfile == null) {
            throw new IllegalArgumentException("--ssl-certfile and --ssl-keyfile go together.");
        }
        if (sslCertReqs != 0 && sslCaCerts == null) {
            throw new IllegalArgumentException("--ssl-cert-reqs " + sslCertReqs + " needs --ssl-ca-certs.");
        }
        ServerTls.Clients clients = switch (sslCertReqs) {
            case 1 -> ServerTls.Clients.OPTIONAL;
            case 2 -> ServerTls.Clients.REQUIRED;
            default -> ServerTls.Clients.NONE;
        };
        return Optional.of(new ServerTls(sslCertfile, sslKeyfile, Optional.ofNullable(sslCaCerts), clients));
    }

    /// `http`, or `https` with a certificate.
    String scheme() {
        return sslCertfile == null ? "http" : "https";
    }

    /// Whether clients have to show a key.
    boolean needsKey() {
        return !apiKeys.isEmpty() || apiKeyFile != null;
    }

    private ApiKeys keys() {
        ApiKeys keys = ApiKeys.of(apiKeys);
        return apiKeyFile == null ? keys : keys.and(new ApiKeyFile(apiKeyFile));
    }

    /// The server that these flags describe.
    ///
    /// @throws IllegalArgumentException if a list is no JSON, the file of keys is none, or a key is empty: a
    ///     variable that was meant to hold one and is not set must not open the server
    HttpServerConfig http(String host, int port) {
        if (apiKeys.stream().anyMatch(String::isBlank)) {
            throw new IllegalArgumentException(
                    "--api-key has an empty key: give one, or leave the flag out to admit everybody.");
        }
        return HttpServerConfig.builder(host, port)
                .apiKeys(keys())
                .tls(tls())
                .cors(new Cors(
                        list("--allowed-origins", allowedOrigins, List.of()),
                        list("--allowed-methods", allowedMethods, List.of("*")),
                        list("--allowed-headers", allowedHeaders, List.of("*")),
                        allowCredentials))
                .build();
    }

    /// vLLM takes one JSON list; here plain values do as well.
    private static List<String> list(String flag, List<String> given, List<String> otherwise) {
        List<String> values = new ArrayList<>();
        for (String value : given) {
            if (value.startsWith("[")) {
                try {
                    values.addAll(JSON.readValue(value, new TypeReference<List<String>>() {}));
                } catch (JacksonException e) {
                    throw new IllegalArgumentException("%s %s is no JSON list of strings.".formatted(flag, value), e);
                }
            } else {
                values.add(value);
            }
        }
        return given.isEmpty() ? otherwise : values;
    }
}
