package dev.baton.transfer.lmcache;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.net.ProtocolException;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.ValueSource;

class PdMessageTest {
    private static final String KEY = "m@1@0@6cccce88f049006f@bfloat16";
    private static final long[] SHAPE = {2, 4, 256, 128};
    private static final long[] NO_SUMS = {};

    private static byte[] hex(String digits) {
        return HexFormat.of().parseHex(digits);
    }

    /// Written by LMCache 0.5.6 itself: `msgspec.msgpack.encode` of its own classes.
    static final List<Arguments> OF_LMCACHE = List.of(
            Arguments.of(
                    "82a474797065af4e69786c496e697452657175657374b06c6f63616c5f6d6574615f6279746573c406006d657461ff",
                    new PdMessage.NixlInitRequest(hex("006d657461ff"))),
            Arguments.of(
                    "83a474797065b04e69786c496e6974526573706f6e7365b172656d6f74655f6167656e745f6e616d65c4056167656e74"
                            + "b172656d6f74655f6d6574615f6279746573c40101",
                    new PdMessage.NixlInitResponse(hex("6167656e74"), hex("01"), false)),
            Arguments.of(
                    "84a474797065b14e69786c4d656d52656752657175657374b172656d6f74655f6167656e745f6e616d65c405"
                            + "6167656e74a86c6f63616c5f6964a26964b66c6f63616c5f786665725f646c6973745f6279746573c40180",
                    new PdMessage.NixlMemRegRequest(hex("6167656e74"), "id", hex("80"))),
            Arguments.of(
                    "82a474797065b24e69786c4d656d526567526573706f6e7365b772656d6f74655f786665725f646c6973745f62797465"
                            + "73c4028004",
                    new PdMessage.NixlMemRegResponse(hex("8004"))),
            Arguments.of(
                    "86a474797065ac416c6c6f6352657175657374a46b65797392bf6d40314030403663636363653838663034393030366640"
                            + "62666c6f61743136d9206d4031403040366363636365383866303439303036664062666c6f61743136"
                            + "78a3666d7401a57368617065940204cd0100cc80a56474797065a862666c6f61743136af6c6173745f"
                            + "6368756e6b5f746f6b7311",
                    new PdMessage.AllocRequest(
                            List.of(KEY, KEY + "x"), 1, new long[] {2, 4, 256, 128}, "bfloat16", 17, new long[0])),
            Arguments.of(
                    "83a474797065ad416c6c6f63526573706f6e7365b4616c72656164795f73656e745f696e64657865739100ae72656d6f"
                            + "74655f696e64657865739207cd012c",
                    new PdMessage.AllocResponse(List.of(0L), List.of(7L, 300L))),
            Arguments.of(
                    "83a474797065ab43616e63656c4e6f746966a67265715f6964a172a46b65797391bf6d403140304036636363636538"
                            + "3866303439303036664062666c6f61743136",
                    new PdMessage.CancelNotif("r", List.of(KEY))),
            Arguments.of(
                    "82a474797065aa50726f78794e6f746966a67265715f6964ad31323334353637382d31323334",
                    new PdMessage.ProxyNotif("12345678-1234")));

    @ParameterizedTest
    @FieldSource("OF_LMCACHE")
    void bytesAreThoseOfLmCacheInBothDirections(String bytes, PdMessage message) throws ProtocolException {
        assertThat(PdMessage.read(hex(bytes))).usingRecursiveComparison().isEqualTo(message);
        assertThat(HexFormat.of().formatHex(message.bytes())).isEqualTo(bytes);
    }

    @Test
    void fieldsOfLmCachesOtherImplementationArePassedOver() throws ProtocolException {
        // req_id, is_last_batch, total_chunks, and an answer whose fields stand in another order
        assertThat(PdMessage.read(hex(
                        "89a474797065ac416c6c6f6352657175657374a46b65797391bf6d40314030403663636363653838663034393030366640"
                                + "62666c6f61743136a3666d7401a57368617065940204cd0100cc80a56474797065a862666c6f61743136"
                                + "af6c6173745f6368756e6b5f746f6b73cd0100a67265715f6964a172ad69735f6c6173745f6261746368"
                                + "c3ac746f74616c5f6368756e6b7303")))
                .usingRecursiveComparison()
                .isEqualTo(new PdMessage.AllocRequest(List.of(KEY), 1, SHAPE, "bfloat16", 256, NO_SUMS));
        assertThat(PdMessage.read(hex("83a474797065ad416c6c6f63526573706f6e7365ae72656d6f74655f696e646578657391ffb4616c"
                        + "72656164795f73656e745f696e646578657390")))
                .isEqualTo(new PdMessage.AllocResponse(List.of(), List.of(-1L)));
    }

    @Test
    void whatABatonAddsComesBack() throws ProtocolException {
        PdMessage.NixlInitResponse response = new PdMessage.NixlInitResponse(hex("61"), hex("62"), true);
        assertThat(PdMessage.read(response.bytes())).usingRecursiveComparison().isEqualTo(response);
        PdMessage.AllocRequest request =
                new PdMessage.AllocRequest(List.of(KEY), 1, SHAPE, "bfloat16", 256, new long[] {0xffffffffL});
        assertThat(PdMessage.read(request.bytes())).usingRecursiveComparison().isEqualTo(request);
    }

    /// Written by NIXL 1.5.1's Python package: `pickle.dumps` of a list of three pages.
    private static final String PICKLED =
            "800495c8000000000000008c136e69786c5f637531332e5f62696e64696e6773948c0d6e69786c58666572444c6973749493942981"
                    + "9443986e69786c5365724465737c6e69786c444c6973740a000000000000006e69786c42444c6973747c740400000000000000"
                    + "000000007c6e080000000000000003000000000000007c48000000000000000010000000000000000200000000000000000000"
                    + "0000000000120000000000000002000000000000000000000000000044332211007f0000000200000000000000000000000000"
                    + "007c94622e";

    @Test
    void listOfPagesIsThatOfNixlsPython() throws ProtocolException {
        PageList list = PageList.read(hex(PICKLED));
        assertThat(list.module()).isEqualTo("nixl_cu13._bindings");
        assertThat(list.memory()).isZero();
        assertThat(list.pages()).containsExactly(0x1000, 0x200, 0, 0x1200, 0x200, 0, 0x7f0011223344L, 0x200, 0);
        assertThat(PageList.read(
                                hex("80049598000000000000008c136e69786c5f637531332e5f62696e64696e6773948c0d6e69786c5866"
                                        + "6572444c69737494939429819443686e69786c5365724465737c6e69786c444c6973740a00000000000000"
                                        + "6e69786c42444c6973747c740400000000000000010000007c6e080000000000000001000000000000007c"
                                        + "18000000000000000010000000000000000200000000000003000000000000007c94622e"))
                        .memory())
                .as("memory of a GPU")
                .isEqualTo(1);
    }

    /// NIXL's Python unpickles what is written here as these three pages; the bytes are those that it was shown.
    @Test
    void listThatIsWrittenIsTheOneThatNixlsPythonWasSeenToRead() throws ProtocolException {
        PageList list = PageList.of("nixl_cu13._bindings", 0, 0x7f0000001000L, 0x200, 3);
        assertThat(HexFormat.of().formatHex(list.bytes()))
                .isEqualTo(
                        "80048c136e69786c5f637531332e5f62696e64696e67738c0d6e69786c58666572444c6973749329814298000000"
                                + "6e69786c5365724465737c6e69786c444c6973740a000000000000006e69786c42444c6973747c7404000000"
                                + "00000000000000007c6e080000000000000003000000000000007c480000000000000000100000007f000000"
                                + "02000000000000000000000000000000120000007f0000000200000000000000000000000000000014000000"
                                + "7f0000000200000000000000000000000000007c622e");
        PageList again = PageList.read(list.bytes());
        assertThat(again).usingRecursiveComparison().isEqualTo(list);
        assertThat(again.address(2)).isEqualTo(0x7f0000001400L);
        assertThat(PageList.read(PageList.of("a.b", 0, 8, 512, 1_000).bytes()).size())
                .isEqualTo(1_000);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "2e",
                "80042e",
                "80048c036f73328c0673797374656d932e", // a class of another name
                "63706f7369780a73797374656d0a28", // GLOBAL posix.system
                "8004420000008000",
            })
    void pickleOfSomethingElseIsRefused(String pickled) {
        assertThatThrownBy(() -> PageList.read(hex(pickled))).isInstanceOf(ProtocolException.class);
    }

    @Test
    void damagedBytesAreReadOrRefusedAndNothingElse() {
        Random random = new Random(1);
        for (int i = 0; i < 100_000; i++) {
            byte[] bytes = hex(
                    i % 2 == 0
                            ? PICKLED
                            : (String) OF_LMCACHE.get(i % OF_LMCACHE.size()).get()[0]);
            for (int j = random.nextInt(4); j >= 0; j--) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
            }
            byte[] damaged = java.util.Arrays.copyOf(bytes, 1 + random.nextInt(bytes.length));
            try {
                if (i % 2 == 0) {
                    assertThat(PageList.read(damaged).size()).isLessThan(10);
                } else {
                    assertThat(PdMessage.read(damaged)).isNotNull();
                }
            } catch (ProtocolException e) {
                assertThat(e).hasMessageMatching("(?s).+");
            }
        }
    }
}
