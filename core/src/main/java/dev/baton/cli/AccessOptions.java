package dev.baton.cli;

import dev.baton.http.ApiKeys;
import dev.baton.http.Cors;
import dev.baton.http.HttpServerConfig;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
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
            description = "YAML or JSON file with further keys, each with its name, its hash and its limits.")
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

    /// Whether clients have to show a key.
    boolean needsKey() {
        return !apiKeys.isEmpty() || apiKeyFile != null;
    }

    private ApiKeys keys() {
        ApiKeys keys = ApiKeys.of(apiKeys);
        return apiKeyFile == null ? keys : keys.and(ApiKeyFile.read(apiKeyFile));
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
