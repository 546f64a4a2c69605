-- One put over a value that is there and does not expire: the most frequent write, with as little as
-- it takes. Everything else is for `commit.lua`.
--
-- KEYS  the key.
-- ARGV  the header expected and the header and value to be stored; or "" and the value alone.
-- Returns text: "1" and, where no header was expected, the version written; "0" and the version found
-- (8 bytes); or "?" where nothing was done.

local key, expected = KEYS[1], ARGV[1]
local head = redis.call('GETRANGE', key, 0, 15)
if head == expected and expected ~= '' then
  redis.call('SET', key, ARGV[2])
  return '1'
end
local ZERO, HALF = '\0\0\0\0\0\0\0\0', 4294967296
if #head ~= 16 or string.sub(head, 9) ~= ZERO then return '?' end
if expected ~= '' then return '0' .. string.sub(head, 1, 8) end
local high, low = struct.unpack('>I4I4', head)
if low == HALF - 1 then high, low = high + 1, -1 end
local version = struct.pack('>I4I4', high, low + 1)
redis.call('SET', key, version .. ZERO .. ARGV[2])
return '1' .. version
