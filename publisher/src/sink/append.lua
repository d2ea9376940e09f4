-- Compares where a stream ends, then appends all rows or none.
-- KEYS: the stream, the key that names its log (same hash tag).
-- ARGV: number of the call, log, expected last id ('' for none), rows to keep about ('0' for all),
--       then id and row, as often as there are rows; without rows it only tells where the stream ends.
-- Answers {stream, number of the call, what happened, last id, log found}. Before its first write nothing can fail any
-- more but that write itself, so a script that failed has written nothing.
local call, argv, stream = redis.call, ARGV, KEYS[1]
local expected = argv[3]

-- The newest entry is the cheap question, and right when it is the expected one. Otherwise the stream is asked for the
-- last id it ever gave, which stays right when entries were deleted or all of them trimmed away.
local last = ''
local newest = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
if newest and newest[1] == expected then
  last = expected
elseif call('EXISTS', stream) == 1 then
  local info = call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  if last == '0-0' then last = '' end
end

local log = call('GET', KEYS[2]) or ''
if last ~= '' and log ~= argv[2] then return {stream, argv[1], 'other', last, log} end
if last ~= expected or #argv == 4 then return {stream, argv[1], 'moved', last, log} end

if log ~= argv[2] then call('SET', KEYS[2], argv[2]) end
for i = 5, #argv, 2 do call('XADD', stream, argv[i], 'row', argv[i + 1]) end
if argv[4] ~= '0' then call('XTRIM', stream, 'MAXLEN', '~', argv[4]) end
return {stream, argv[1], 'appended', argv[#argv - 1], argv[2]}
