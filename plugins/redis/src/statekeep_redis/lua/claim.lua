-- Claims messages of one queue: those visible longest first.
--
-- KEYS  the queue's order, its fields.
-- ARGV  at most so many, lease in us, a text for the tokens, bytes of payload at most.
-- Returns id, fields and payload of each, one after the other.

local call, sub, pack, unpack_ = redis.call, string.sub, struct.pack, struct.unpack
local order, fields_key = KEYS[1], KEYS[2]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local visible = now + ARGV[2]
local visible_field = pack('>i8', visible)
local room = tonumber(ARGV[4])
local ids = call('ZRANGEBYSCORE', order, '-inf', now, 'LIMIT', 0, ARGV[1])
local answer = {}
for n, id in ipairs(ids) do
  local found = call('HMGET', fields_key, 'm' .. id, 'p' .. id)
  local fields, payload = found[1], found[2]
  if not fields then
    call('ZREM', order, id)
  else
    room = room - #payload
    if room < 0 and #answer > 0 then break end
    local attempt = unpack_('>I4', sub(fields, 17, 20)) + 1
    fields = sub(fields, 1, 8) .. visible_field .. pack('>I4', attempt) .. ARGV[3] .. n
    call('HSET', fields_key, 'm' .. id, fields)
    call('ZADD', order, visible, id)
    answer[#answer + 1] = id
    answer[#answer + 1] = fields
    answer[#answer + 1] = payload
  end
end
return answer
