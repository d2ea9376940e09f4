import static java.nio.charset.StandardCharsets.US_ASCII;

/** The joined row: spliced from the original bytes of both sides, which are never parsed, in the shape that Ready To Fly gives it. */
final class Row {
    private static final byte[] ID = bytes("{\"id\":");
    private static final byte[] KEY = bytes(",\"key\":\"");
    private static final byte[] FOREIGN = bytes("\",\"outcome\":\"joined\",\"foreign\":");
    private static final byte[] PRIMARY = bytes(",\"primary\":[");
    private static final byte[] FOREIGN_TS = bytes("],\"foreign_ts\":");
    private static final byte[] PRIMARY_TS = bytes(",\"primary_ts\":");
    private static final byte[] END = bytes("}");
    private static final int FIXED =
            ID.length + KEY.length + FOREIGN.length + PRIMARY.length + FOREIGN_TS.length + PRIMARY_TS.length + END.length;

    private static final byte[] CLICK_ID = bytes("\"click_id\":");
    private static final byte[] TIME = bytes("\"time\":");

    private final byte[] row;
    private int length;

    private Row(int capacity) {
        row = new byte[capacity];
    }

    /** The row of a click and its query, which share the key. */
    static byte[] of(byte[] key, byte[] click, byte[] query) {
        int id = valueOf(CLICK_ID, click);
        int idEnd = endOf(click, id);
        int clickTime = valueOf(TIME, click);
        int clickTimeEnd = endOf(click, clickTime);
        int queryTime = valueOf(TIME, query);
        int queryTimeEnd = endOf(query, queryTime);
        int values = (idEnd - id) + (clickTimeEnd - clickTime) + (queryTimeEnd - queryTime);

        Row row = new Row(FIXED + key.length + click.length + query.length + values);
        row.put(ID).put(click, id, idEnd).put(KEY).put(key);
        row.put(FOREIGN).put(click).put(PRIMARY).put(query);
        row.put(FOREIGN_TS).put(click, clickTime, clickTimeEnd);
        row.put(PRIMARY_TS).put(query, queryTime, queryTimeEnd).put(END);
        return row.row;
    }

    private Row put(byte[] bytes) {
        return put(bytes, 0, bytes.length);
    }

    private Row put(byte[] bytes, int from, int to) {
        System.arraycopy(bytes, from, row, length, to - from);
        length += to - from;
        return this;
    }

    /** Where the value begins that follows this name. */
    private static int valueOf(byte[] name, byte[] json) {
        for (int at = 0; at <= json.length - name.length; at++) {
            if (startsWith(json, at, name)) {
                return at + name.length;
            }
        }
        throw new IllegalArgumentException("no " + new String(name, US_ASCII));
    }

    private static boolean startsWith(byte[] json, int at, byte[] name) {
        for (int i = 0; i < name.length; i++) {
            if (json[at + i] != name[i]) {
                return false;
            }
        }
        return true;
    }

    /** Where the number or the string without escapes ends that begins here. */
    private static int endOf(byte[] json, int from) {
        int at = from;
        while (json[at] != ',' && json[at] != '}') {
            at++;
        }
        return at;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(US_ASCII);
    }
}
