-- One transaction: all conditions first, then all operations in order.
--
-- KEYS  index, floor, expiry times, then the keys of each operation in order.
-- ARGV  one letter for each operation, the length of the prefix, then each one's arguments:
--   P put       v    expected ("" for none), ttl in us ("" for none), value
--   D delete    v    expected
--   C check     v    expected
--   A add       s    count, then "0" and a member, count times
--   R remove    s    count, then the members
--   S schedule  q h  id, name, due (8 bytes, or "": from now), due in us, payload
--   K cancel    q h  id, name
--   X acknowledge, L release, E extend   q h  id, name, token [, microseconds]
--   V restore a value    v    version, expiry (8 bytes), expiry in ms ("" for none), value
--   M restore a message  q h  id, name, fields, visible in us, payload
-- Returns text, as a table costs Redis more than all the rest: "1" and the results of P (version),
-- D and K ("0" or "1"), or "0" and for each failed condition the number of its operation (4 bytes)
-- and the version found (8 bytes).
--
-- Versions are 8 bytes, big-endian, and computed as two halves: a Lua number holds only 53 bits.

local call, sub, pack, unpack_ = redis.call, string.sub, struct.pack, struct.unpack
local ops, ZERO, HALF = ARGV[1], '\0\0\0\0\0\0\0\0', 4294967296

-- The common case, before anything else is set up: one put over a value, nothing expires.
if ops == 'P' and ARGV[4] == '' then
  local head, expected = call('GETRANGE', KEYS[4], 0, 15), ARGV[3]
  if #head == 16 and sub(head, 9) == ZERO then
    local high, low = unpack_('>I4I4', head)
    local version = sub(head, 1, 8)
    if expected ~= '' and expected ~= version then return '0\0\0\0\1' .. version end
    if low == HALF - 1 then high, low = high + 1, -1 end
    version = pack('>I4I4', high, low + 1)
    call('SET', KEYS[4], version .. ZERO .. ARGV[5])
    return '1' .. version
  end
end

local index, floor_key, expiry = KEYS[1], KEYS[2], KEYS[3]
local cut = tonumber(ARGV[2]) + 1

local moment, floor, floor_before, indexed

local function now()
  if not moment then
    local time = call('TIME')
    moment = time[1] * 1000000 + time[2]
  end
  return moment
end

local function successor(version)
  local high, low = unpack_('>I4I4', version)
  if low == HALF - 1 then return pack('>I4I4', high + 1, 0) end
  return pack('>I4I4', high, low + 1)
end

local function higher(a, b)
  local a_high, a_low = unpack_('>I4I4', a)
  local b_high, b_low = unpack_('>I4I4', b)
  if a_high > b_high or (a_high == b_high and a_low > b_low) then return a end
  return b
end

-- Before any write, what will be written beside the operation's own key is read once: a key of
-- the wrong type fails here, where nothing has been applied.
local function prepare()
  if not floor then
    floor_before = call('GET', floor_key) or ZERO
    floor = floor_before
    if #floor ~= 8 then error('CORRUPT ' .. floor_key) end
    call('ZCARD', expiry)
    indexed = true
  end
end

local heads, answer, size = {}, {'0'}, 1
local k, a = 4, 3
for n = 1, #ops do
  local op, key = sub(ops, n, n), KEYS[k]
  if op == 'P' or op == 'D' or op == 'C' or op == 'V' then
    local head = call('GETRANGE', key, 0, 15)
    heads[n] = head
    if head ~= '' and #head < 16 then return redis.error_reply('CORRUPT ' .. key) end
    if op ~= 'V' then
      local expected, version = ARGV[a], head == '' and ZERO or sub(head, 1, 8)
      if expected ~= '' and expected ~= version then
        size = size + 1
        answer[size] = pack('>I4', n) .. version
      end
    end
    if op == 'P' then
      if head == '' or ARGV[a + 1] ~= '' or sub(head, 9) ~= ZERO then prepare() end
    elseif op ~= 'C' then
      prepare()
    end
    k, a = k + 1, a + ((op == 'P' and 3) or (op == 'V' and 4) or 1)
  elseif op == 'A' or op == 'R' then
    call('ZCARD', key)
    indexed = true
    local count = tonumber(ARGV[a])
    a = a + 1 + (op == 'A' and 2 * count or count)
    k = k + 1
  else
    local fields = call('HGET', KEYS[k + 1], 'm' .. ARGV[a])
    call('ZCARD', key)
    if op == 'X' or op == 'L' or op == 'E' then
      if not fields or sub(fields, 21) ~= ARGV[a + 2] then
        size = size + 1
        answer[size] = pack('>I4', n) .. ZERO
      end
    end
    indexed = true
    k, a = k + 2, a + ((op == 'S' and 5) or (op == 'X' and 3) or (op == 'K' and 2)
      or (op == 'M' and 5) or 4)
  end
end
if indexed then call('ZCARD', index) end
if size > 1 then return table.concat(answer) end

answer = {'1'}
local reclaim = false

local function write(key, name, version, value, expires, milliseconds)
  if milliseconds then
    call('SET', key, version .. expires .. value, 'PXAT', milliseconds - 1)
    call('ZADD', expiry, milliseconds, name)
    floor = higher(floor, version)
    reclaim = true
  else
    call('SET', key, version .. ZERO .. value)
  end
end

k, a = 4, 3
for n = 1, #ops do
  local op, key = sub(ops, n, n), KEYS[k]
  if op == 'P' then
    local head, name, ttl, version = heads[n], sub(key, cut), ARGV[a + 1], nil
    if head == '' then
      local time = now()
      version = higher(pack('>I4I4', math.floor(time / HALF), time % HALF), successor(floor))
    else
      version = successor(sub(head, 1, 8))
    end
    if ttl == '' then
      write(key, name, version, ARGV[a + 2])
      if head == '' or sub(head, 9) ~= ZERO then call('ZREM', expiry, name) end
    else
      local milliseconds = math.ceil((now() + ttl) / 1000)
      write(key, name, version, ARGV[a + 2], pack('>i8', milliseconds * 1000), milliseconds)
    end
    if head == '' then call('ZADD', index, 0, name) end
    size = size + 1
    answer[size] = version
    k, a = k + 1, a + 3
  elseif op == 'V' then
    local head, name, milliseconds = heads[n], sub(key, cut), tonumber(ARGV[a + 2])
    if head ~= '' then floor = higher(floor, sub(head, 1, 8)) end
    if milliseconds and milliseconds * 1000 <= now() then
      call('UNLINK', key)
      call('ZREM', index, name)
      call('ZREM', expiry, name)
      floor = higher(floor, ARGV[a])
    else
      write(key, name, ARGV[a], ARGV[a + 3], ARGV[a + 1], milliseconds)
      if not milliseconds then call('ZREM', expiry, name) end
      call('ZADD', index, 0, name)
    end
    k, a = k + 1, a + 4
  elseif op == 'D' then
    local head, name = heads[n], sub(key, cut)
    if head ~= '' then
      call('UNLINK', key)
      floor = higher(floor, sub(head, 1, 8))
    end
    call('ZREM', index, name)
    call('ZREM', expiry, name)
    size = size + 1
    answer[size] = head ~= '' and '1' or '0'
    k, a = k + 1, a + 1
  elseif op == 'C' then
    k, a = k + 1, a + 1
  elseif op == 'A' then
    local count, added = tonumber(ARGV[a]), 0
    local last = a + 2 * count
    for first = a + 1, last, 4000 do -- Lua's stack holds no more than 8000
      added = added + call('ZADD', key, unpack(ARGV, first, math.min(first + 3999, last)))
    end
    if added > 0 and call('ZCARD', key) == added then call('ZADD', index, 0, sub(key, cut)) end
    a = a + 1 + 2 * count
    k = k + 1
  elseif op == 'R' then
    local count = tonumber(ARGV[a])
    for first = a + 1, a + count, 4000 do
      call('ZREM', key, unpack(ARGV, first, math.min(first + 3999, a + count)))
    end
    if count > 0 and call('EXISTS', key) == 0 then call('ZREM', index, sub(key, cut)) end
    a = a + 1 + count
    k = k + 1
  else
    local fields_key, id, name = KEYS[k + 1], ARGV[a], ARGV[a + 1]
    if op == 'S' then
      local due, visible = ARGV[a + 2], ARGV[a + 3]
      if due == '' then
        visible = now() + visible
        due = pack('>i8', visible)
      end
      local fields = due .. due .. '\0\0\0\0'
      if call('HSET', fields_key, 'm' .. id, fields, 'p' .. id, ARGV[a + 4]) > 0 then
        call('ZADD', index, 0, name)
      end
      call('ZADD', key, visible, id)
      a = a + 5
    elseif op == 'M' then
      call('HSET', fields_key, 'm' .. id, ARGV[a + 2], 'p' .. id, ARGV[a + 4])
      call('ZADD', key, ARGV[a + 3], id)
      call('ZADD', index, 0, name)
      a = a + 5
    elseif op == 'K' or op == 'X' then
      local gone = call('HDEL', fields_key, 'm' .. id, 'p' .. id)
      call('ZREM', key, id)
      call('ZREM', index, name)
      if op == 'K' then
        size = size + 1
        answer[size] = gone > 0 and '1' or '0'
      end
      a = a + (op == 'K' and 2 or 3)
    else
      local fields, visible = call('HGET', fields_key, 'm' .. id), now() + ARGV[a + 3]
      local token = op == 'E' and sub(fields, 21) or ''
      fields = sub(fields, 1, 8) .. pack('>i8', visible) .. sub(fields, 17, 20) .. token
      call('HSET', fields_key, 'm' .. id, fields)
      call('ZADD', key, visible, id)
      a = a + 4
    end
    k = k + 2
  end
end

-- Values that Redis expired leave their names behind: whoever adds one takes some others along.
if reclaim then
  local gone = call('ZRANGEBYSCORE', expiry, '-inf', now() / 1000, 'LIMIT', 0, 4)
  for _, name in ipairs(gone) do
    call('ZREM', index, name)
    call('ZREM', expiry, name)
  end
end
if floor ~= floor_before then call('SET', floor_key, floor) end
return table.concat(answer)
