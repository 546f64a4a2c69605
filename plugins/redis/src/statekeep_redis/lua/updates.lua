-- Conditional puts over values that are there, each a transaction of its own: what a batch of many
-- callers mostly holds. A call of a script costs Redis more than the put in it.
--
-- KEYS  the key of each, all different.
-- ARGV  for each: the version expected (8 bytes), the value.
-- Returns text, 9 bytes for each: "1" and the version written, "0" and the version found, or "?"
-- where it is not that simple, and nothing was done: a value that expires or is none, an error.

local try, sub, pack, unpack_ = redis.pcall, string.sub, struct.pack, struct.unpack
local ZERO, HALF = '\0\0\0\0\0\0\0\0', 4294967296
local answer = {}

for n = 1, #KEYS do
  local key, expected, result = KEYS[n], ARGV[2 * n - 1], '?' .. ZERO
  local head = try('GETRANGE', key, 0, 15)
  if head == '' then
    result = '0' .. ZERO
  elseif type(head) == 'string' and #head == 16 and sub(head, 9) == ZERO then
    local version = sub(head, 1, 8)
    if version ~= expected then
      result = '0' .. version
    else
      local high, low = unpack_('>I4I4', head)
      if low == HALF - 1 then high, low = high + 1, -1 end
      version = pack('>I4I4', high, low + 1)
      if try('SET', key, version .. ZERO .. ARGV[2 * n]).ok then result = '1' .. version end
    end
  end
  answer[n] = result
end
return table.concat(answer)
