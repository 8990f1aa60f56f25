package dev.baton.cli.compat;

import dev.baton.router.RouterConfig;
import dev.baton.router.policy.Balancing;
import dev.baton.router.policy.Mode;
import dev.baton.router.policy.PolicyConfig;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Supplier;

/// A proxy of another project: an object with that proxy's flags as picocli's options, parsed once.
public interface CompatProxy {
    /// The proxies by their files' names.
    enum Name {
        DISAGG_PROXY_SERVER(DisaggProxyServer::new),
        DISAGG_PROXY_P2P_NCCL_XPYD(DisaggProxyP2pNcclXpyd::new),
        DISAGG_PROXY_PPD(DisaggProxyPpd::new),
        TOY_PROXY_SERVER(ToyProxyServer::new),
        DISAGG_PROXY_DEMO(DisaggProxyDemo::new),
        DISAGG_PROXY_PUSHCONNECTOR_DEMO(DisaggProxyPushconnectorDemo::new),
        DISAGG_PREFILL_PROXY_SERVER(DisaggPrefillProxyServer::new),
        MOONCAKE_CONNECTOR_PROXY(MooncakeConnectorProxy::new);

        @SuppressWarnings("ImmutableEnumChecker") // a constructor
        private final Supplier<CompatProxy> proxy;

        Name(Supplier<CompatProxy> proxy) {
            this.proxy = proxy;
        }

        /// The proxy of this file name, with or without `.py`.
        public static Optional<Name> of(String file) {
            return Arrays.stream(values())
                    .filter(name -> file.equals(name.toString()) || file.equals(name + ".py"))
                    .findFirst();
        }

        /// All names.
        public static List<String> all() {
            return Arrays.stream(values()).map(Name::toString).toList();
        }

        /// A proxy whose flags are not parsed yet.
        public CompatProxy proxy() {
            return proxy.get();
        }

        /// The file's name without `.py`.
        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /// The variable with the key that engines are shown.
    String ENGINE_KEY_VARIABLE = "OPENAI_API_KEY";

    /// The variable with the key that whoever adds engines has to show, if the proxy has one.
    default Optional<String> adminKeyVariable() {
        return Optional.empty();
    }

    /// The router that stands in for the proxy, as its flags say. What it has to listen on besides the router's own
    /// port it listens on already, and closes with the router.
    ///
    /// @throws IllegalArgumentException in one sentence, if flags do not go together
    /// @throws dev.baton.discovery.DiscoveryException if an address is none
    RouterConfig router();

    /// Every request over both legs, engines in turn: what all of these proxies do.
    static PolicyConfig inTurn() {
        return PolicyConfig.builder()
                .mode(Mode.PD)
                .balancing(Balancing.ROUND_ROBIN)
                .build();
    }
}
