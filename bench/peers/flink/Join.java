import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.time.Duration;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.functions.co.KeyedCoProcessFunction;
import org.apache.flink.util.Collector;

/**
 * Clicks and queries of one key, whichever comes first, within the interval. A query is kept for further clicks, a click only until its query comes.
 * Flink's own interval join keeps both sides and sets a timer for each event; here a time-to-live does it for less.
 */
final class Join extends KeyedCoProcessFunction<String, Tuple2<String, byte[]>, Tuple2<String, byte[]>, byte[]> {
    private static final long serialVersionUID = 1;
    /** As long as Ready To Fly waits for a query in the bench. */
    private static final Duration INTERVAL = Duration.ofMinutes(10);

    private transient ValueState<byte[]> query;
    private transient ListState<byte[]> waiting;

    @Override
    public void open(OpenContext context) {
        StateTtlConfig ttl = StateTtlConfig.newBuilder(INTERVAL).cleanupInRocksdbCompactFilter(10_000).build();
        var bytes = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
        var queryDescriptor = new ValueStateDescriptor<byte[]>("query", bytes);
        var waitingDescriptor = new ListStateDescriptor<byte[]>("waiting", bytes);
        queryDescriptor.enableTimeToLive(ttl);
        waitingDescriptor.enableTimeToLive(ttl);
        query = getRuntimeContext().getState(queryDescriptor);
        waiting = getRuntimeContext().getListState(waitingDescriptor);
    }

    @Override
    public void processElement1(Tuple2<String, byte[]> click, Context context, Collector<byte[]> out) throws Exception {
        byte[] partner = query.value();
        if (partner == null) {
            waiting.add(click.f1);
        } else {
            out.collect(Row.of(click.f0.getBytes(ISO_8859_1), click.f1, partner));
        }
    }

    @Override
    public void processElement2(Tuple2<String, byte[]> found, Context context, Collector<byte[]> out) throws Exception {
        query.update(found.f1);
        boolean any = false;
        for (byte[] click : waiting.get()) {
            out.collect(Row.of(found.f0.getBytes(ISO_8859_1), click, found.f1));
            any = true;
        }
        if (any) {
            waiting.clear();
        }
    }
}
